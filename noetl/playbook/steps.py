"""The workflow: steps with their loops, rules and transitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from noetl.playbook.actions import read_then
from noetl.playbook.bounds import read_limit, read_pool, read_step_retry, read_timeout
from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.doubts import doubt
from noetl.playbook.expression import is_template
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Collect, Json, Loop, Rule, Set, Step
from noetl.playbook.targets import read_next
from noetl.playbook.tool import Workbook, read_tool
from noetl.playbook.uses import called, names

STEP_WORDS = ("step", "desc", "when", "tool", "args", "loop", "timeout", "retry", "pool", "vars", "case", "next")
LOOP_WORDS = ("in", "iterator", "mode", "limit")
RULE_WORDS = ("when", "then")
MODES: Mapping[str, Literal["sequential", "parallel"]] = {"sequential": "sequential", "parallel": "parallel", "async": "parallel"}
MAX_STEPS = 5_000
MAX_VARIABLES = 1_000
"""How many variables an execution may have."""
TOOLLESS = ("start", "end")
"""The steps that may do nothing but be passed through."""

_SYNONYMS = {
    "description": "desc",
    "name": "step",
    "if": "when",
    "condition": "when",
    "rules": "case",
    "queue": "pool",
    "with": "args",
    "data": "args",
    "call": "tool",
}
_TRUE = ("true", "1", "yes")


def read_steps(check: Check, node: Node, workbook: Workbook) -> dict[str, Step]:
    """Return the steps by name, in the order of the document; of two with one name the first counts."""
    steps: dict[str, Step] = {}
    if node.items is None:
        check.mistakes.add(node.position, "`workflow` has to be a list of steps", "write workflow: [{step: start, …}, …]")
        return steps
    for item in node.items:
        if len(steps) == MAX_STEPS:
            message = f"there are {len(node.items):,} steps; at most {MAX_STEPS:,} are possible"
            check.mistakes.add(item.position, message, "move some of them to a playbook of their own: tool: {kind: playbook, path: …}")
            break
        step = _step(check, item, workbook)
        if step is None:
            continue
        if step.name in steps:
            first = steps[step.name].position.line
            check.mistakes.warn(step.position, f"there is a step {quote(step.name)} already, at line {first}; the first one counts")
        steps.setdefault(step.name, step)
    _check_variables(check, steps)
    return steps


def _check_variables(check: Check, steps: Mapping[str, Step]) -> None:
    """Refuse more variables than an execution may have, and warn of those that a step's result hides."""
    known: set[str] = set()
    for step in steps.values():
        for name in _variables(step):
            if name in known:
                continue
            known.add(name)
            if name in steps:
                text = f"the variable {quote(name)} is hidden by the result of the step of that name; read it as vars.{name}"
                check.mistakes.warn(step.position, text)
            if len(known) == MAX_VARIABLES + 1:
                message = f"the playbook has more than {MAX_VARIABLES:,} variables; at most so many are possible"
                check.mistakes.add(step.position, message, "keep what belongs together in one variable, a mapping")


def _variables(step: Step) -> Iterator[str]:
    """Return the names of the variables that a step may write."""
    for name, _ in step.vars:
        yield name
    for rule in step.rules:
        for action in rule.then:
            if isinstance(action, Set):
                yield from (name for name, _ in action.values)
            elif isinstance(action, Collect) and action.into:
                yield action.into


def _step(check: Check, node: Node, workbook: Workbook) -> Step | None:
    fields = check.mapping(node, "a step")
    if node.fields is None:
        return None
    name_node = check.field(fields, "step")
    name = check.name(name_node, "the name of a step") if name_node is not None else ""
    place = f"the step {quote(name)}" if name else "a step"
    if name_node is None:
        check.mistakes.add(node.position, "a step needs a name: `step`")
    if "type" in fields:
        check.mistakes.add(fields["type"].position, f"`type` of {place} is from version 1 of the language", "write tool: {kind: …}")
    check.words({word: field for word, field in fields.items() if word != "type"}, STEP_WORDS, place, _SYNONYMS)
    tool_node, loop_node = check.field(fields, "tool"), check.field(fields, "loop")
    if tool_node is None and "type" not in fields and (name not in TOOLLESS or loop_node is not None):
        hint = "write tool: {kind: …}; only `start` and `end` without a loop do without"
        check.mistakes.add(node.position, f"{place} needs a `tool`", hint)
    for word in ("timeout", "retry", "pool"):
        if tool_node is None and (found := check.field(fields, word)) is not None:
            check.mistakes.add(found.position, f"`{word}` of {place} needs a `tool`: nothing runs here")
    desc = check.field(fields, "desc")
    step = Step(
        name=name,
        tool=read_tool(check, tool_node, place, workbook) if tool_node is not None else None,
        desc=desc.text if desc is not None else "",
        args=check.values(check.field(fields, "args"), f"`args` of {place}"),
        loop=_loop(check, loop_node) if loop_node is not None else None,
        vars=tuple(check.values(check.field(fields, "vars"), f"`vars` of {place}").items()),
        rules=tuple(_rules(check, check.field(fields, "case"))),
        next=read_next(check, check.field(fields, "next")),
        when=_when(check, when) if (when := check.field(fields, "when")) is not None else None,
        timeout=read_timeout(check, check.field(fields, "timeout"), place),
        retry=read_step_retry(check, check.field(fields, "retry"), place),
        pool=read_pool(check, check.field(fields, "pool"), f"`pool` of {place}"),
        position=node.position,
    )
    if step.tool is not None and step.tool.kind == "playbook":
        _check_handed_over(check, fields, {"tool": {**step.tool.config, "args": step.tool.args}, "args": step.args}, place)
    doubt(check, fields, place)
    return step if name else None


def _check_handed_over(check: Check, fields: Mapping[str, Field], written: Mapping[str, Json], place: str) -> None:
    """Refuse secrets in what a sub-playbook is given: it is the payload of an execution, which is kept and shown as it is."""
    for word, value in written.items():
        found = "keychain" if any(root == "keychain" for root, _ in names(value)) else "token()" if "token" in called(value) else ""
        if found:
            message = f"{quote(found)} cannot be handed to a sub-playbook, as {place} does: its inputs are kept in clear"
            check.mistakes.add(fields[word].position, message, "give the sub-playbook a `keychain` of its own, or read the secret there")


def _loop(check: Check, node: Node) -> Loop | None:
    fields = check.mapping(node, "`loop`")
    if node.fields is None:
        return None
    check.words(fields, LOOP_WORDS, "`loop`", {"concurrency": "limit", "max_concurrency": "limit", "parallelism": "limit"})
    items, iterator, mode_node, limit = (check.field(fields, word) for word in LOOP_WORDS)
    for word, found in (("in", items), ("iterator", iterator)):
        if found is None:
            check.mistakes.add(node.position, f"`loop` needs `{word}`", 'write loop: {in: "{{ … }}", iterator: NAME}')
    name = check.name(iterator, "`iterator`") if iterator is not None else ""
    if iterator is not None and name and not name.isidentifier():
        message = f"`iterator` {quote(name)} cannot be a name in templates"
        check.mistakes.add(iterator.position, message, "use letters, digits and underscores")
    mode = _mode(check, mode_node)
    return Loop(check.value(items) if items is not None else None, name, mode, read_limit(check, limit, parallel=mode == "parallel"))


def _mode(check: Check, node: Node | None) -> Literal["sequential", "parallel"]:
    if node is None:
        return "sequential"
    if isinstance(node.value, str) and node.value in MODES:
        return MODES[node.value]
    check.mistakes.add(node.position, f"unknown `mode` {quote(node.text)} of a loop", check.nearest(node.text, MODES))
    return "sequential"


def _rules(check: Check, node: Node | None) -> Iterator[Rule]:
    if node is None:
        return
    if node.items is None:
        check.mistakes.add(node.position, "`case` has to be a list", "write case: [{when: …, then: …}]")
        return
    for item in node.items:
        fields = check.mapping(item, "an entry of `case`")
        if item.fields is None:
            continue
        check.words(fields, RULE_WORDS, "an entry of `case`")
        when, then = check.field(fields, "when"), check.field(fields, "then")
        for word, found in (("when", when), ("then", then)):
            if found is None:
                check.mistakes.add(item.position, f"an entry of `case` needs `{word}`", "write {when: …, then: {next: NAME}}")
        actions = read_then(check, then) if then is not None else ()
        if when is not None:
            yield Rule(_when(check, when), actions)


def _when(check: Check, node: Node) -> Json:
    value = node.value
    if isinstance(value, str) and not is_template(value) and value.strip().lower() not in (*_TRUE, "false", "0", "no"):
        check.mistakes.warn(node.position, "`when` is a text without {{ … }}, which is never true")
    return check.value(node)
