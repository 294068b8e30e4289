"""Steps to go to: the forms of `next`, and the mapping of `call`."""

from __future__ import annotations

from noetl.playbook.check import Check
from noetl.playbook.document import Node
from noetl.playbook.model import Target

WORDS = ("step", "args")

_OLD_WORDS = ("when", "then", "else")


def read_next(check: Check, node: Node | None, what: str = "`next`") -> tuple[Target, ...]:
    """Return the targets of a `next`: a name, a list of names, `{step, args}` or a list of those; null and an empty list are none."""
    if node is None or node.value is None:
        return ()
    entries = node.items if node.items is not None else (node,)
    targets = (_entry(check, entry, what) for entry in entries)
    return tuple(target for target in targets if target is not None)


def read_target(check: Check, node: Node, what: str) -> Target | None:
    """Return the target that a mapping `{step, args}` names."""
    fields = check.mapping(node, what)
    if not fields:
        if node.fields is not None:
            check.mistakes.add(node.position, f"{what} needs a `step`")
        return None
    if old := [word for word in _OLD_WORDS if word in fields]:
        hint = "conditions go into the step's `case`: [{when: …, then: {next: …}}]"
        check.mistakes.add(fields[old[0]].position, f"{what} takes no `{old[0]}`", hint)
        return None
    check.words(fields, WORDS, what)
    args = check.values(check.field(fields, "args"), f"`args` of {what}")
    step = check.field(fields, "step")
    if step is None:
        check.mistakes.add(node.position, f"{what} needs a `step`", "write {step: NAME, args: {…}}")
        return None
    name = check.name(step, f"the `step` of {what}")
    if not name:
        return None
    check.target(name, step.position)
    return Target(name, args)


def _entry(check: Check, node: Node, what: str) -> Target | None:
    if node.fields is not None:
        return read_target(check, node, what)
    if node.items is not None or node.value is None:
        check.mistakes.add(node.position, f"an entry of {what} is a step's name or {{step, args}}")
        return None
    name = check.name(node, f"a target of {what}")
    if not name:
        return None
    check.target(name, node.position)
    return Target(name)
