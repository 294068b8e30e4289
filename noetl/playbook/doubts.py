"""What is legal in a step's rules, and probably not meant: each is a warning."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from jinja2 import nodes

from noetl.playbook import program
from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.expression import is_template, syntax_error
from noetl.playbook.mistakes import nearest, quote
from noetl.playbook.model import Json
from noetl.playbook.repeats import PAGES
from noetl.playbook.uses import names

TOOL_ONLY = {"args": "the tool", "loop_results": "the args of the step after a loop", "keychain": "tools and sinks"}
"""Names that rules, `vars` and `next` do not see, each with where it is known."""
TEXTS = frozenset({"next", "cursor", "continuation", "marker", "href"} | {f"next_{word}" for word in ("url", "link", "cursor", "token")})
"""What an API calls the text with which the next page is asked for."""
EVENTS = ("step.enter", "call.done", "call.error", "step.exit", "loop.done")
"""The events that rules see."""


def no_secrets(check: Check, fields: Mapping[str, Field], place: str) -> None:
    """Warn of secrets in what the server evaluates, which knows none: `when`, `loop` and `on_failure` of a step or a playbook, `output`."""
    for word in ("when", "loop", "output", "on_failure"):
        if word in fields and any(root == "keychain" for root, _ in names(fields[word].node.value)):
            text = f"`keychain` is known in {TOOL_ONLY['keychain']}, and is nothing in `{word}` of {place}"
            check.mistakes.warn(fields[word].position, text)


def doubt(check: Check, fields: Mapping[str, Field], place: str) -> None:
    """Warn of what a step's rules, `vars` and `next` say that has no effect, though it looks as if it had."""
    no_secrets(check, fields, place)
    for word in ("case", "vars", "next"):
        if word not in fields:
            continue
        read = {root for root, _ in names(_without_sinks(fields[word].node.value))}
        for name in sorted(read & TOOL_ONLY.keys()):
            text = f"`{name}` is known in {TOOL_ONLY[name]}, and is nothing in `{word}` of {place}"
            check.mistakes.warn(fields[word].position, text)
    case = check.field(fields, "case")
    for rule in (case.items or ()) if case is not None else ():
        when, then = ((rule.fields or {}).get(word) for word in ("when", "then"))
        if when is None:
            continue
        if then is not None:
            _vain_retries(check, _events(when.node.value), then.node)
        if found := _text_as_truth(when.node.value):
            text = f"{quote(found)} is a text, and counts as true only if it says true, 1 or yes: write {found} is not none"
            check.mistakes.warn(when.position, text)
        for name in _events(when.node.value):
            if name not in EVENTS:
                text = f"rules do not see an event {quote(name)}: {nearest(name, EVENTS)}"
                check.mistakes.warn(when.position, text)
            elif name == "loop.done" and "loop" not in fields:
                check.mistakes.warn(when.position, f"{place} has no `loop`, and so no event `loop.done`")


def unknown_entries(check: Check, lists: Iterable[Node], known: Collection[str]) -> None:
    """Warn of what steps and workbook entries read of the keychain that it has not: such a name is nothing, and no error."""
    for node in lists:
        for item in node.items or ():
            read = [field.node.value for word, field in (item.fields or {}).items() if word in ("tool", "args", "case", "sink")]
            for name in _entries(read):
                if name not in known:
                    hint = nearest(name, known) if known else "the playbook has no `keychain`"
                    check.mistakes.warn(item.position, f"the keychain has no entry {quote(name)}, and so it is nothing: {hint}")


def later_entries(check: Check, node: Node) -> None:
    """Warn of what entries of the keychain read of it that is not ahead of them."""
    ahead: list[str] = []
    written = [str(item.value.get("name")) for item in node.items or () if isinstance(item.value, Mapping)]
    for item in node.items or ():
        if not isinstance(item.value, Mapping):
            continue
        own = str(item.value.get("name"))
        for name in _entries(item.value):
            if name not in ahead:
                moved = name in written and name != own
                hint = f"write it ahead of {quote(own)}" if moved else nearest(name, ahead) or "it is the first one"
                text = f"the keychain's entry {quote(own)} reads {quote(name)}, which is not ahead of it, and so is nothing: {hint}"
                check.mistakes.warn(item.position, text)
        ahead.append(own)


def _entries(value: Json) -> list[str]:
    """Return the entries of the keychain that the templates of a value read by name."""
    return sorted(name for root, name in names(value) if root == "keychain" and name is not None)


def _vain_retries(check: Check, events: Collection[str], then: Node) -> None:
    """Warn of a `retry` for errors in a rule that sees none."""
    if not events or not {"call.error", "step.exit"}.isdisjoint(events):
        return
    for item in then.items or (then,):
        retry = (item.fields or {}).get("retry")
        if retry is not None and (retry.node.fields or {}).keys().isdisjoint(PAGES):
            text = f"`retry` repeats what has failed, and this rule sees {', '.join(sorted(events))} only"
            check.mistakes.warn(retry.position, f"{text}: to call again what has not, write retry: {{params: {{}}, max_attempts: …}}")


def _events(when: Json) -> list[str]:
    """Return the texts that a `when` compares `event.name` with, one or in a list."""
    if not isinstance(when, str) or not is_template(when) or syntax_error(when):
        return []
    found: list[str] = []
    for compared in program.parse(when).find_all(nodes.Compare):
        if tuple(_dotted(compared.expr)) == ("name", "event"):
            for operand in compared.ops:
                found += [one.value for one in operand.expr.find_all(nodes.Const) if isinstance(one.value, str)]
                found += [operand.expr.value] if isinstance(operand.expr, nodes.Const) and isinstance(operand.expr.value, str) else []
    return found


def _without_sinks(value: Json) -> Json:
    """Return what is evaluated with the rules: a sink's templates are rendered where it runs."""
    if isinstance(value, Mapping):
        return {key: _without_sinks(item) for key, item in value.items() if key != "sink"}
    return [_without_sinks(item) for item in value] if isinstance(value, list) else value


def _text_as_truth(when: Json) -> str:
    """Return what a `when` ends in, where that is by its name a text; else nothing."""
    if not isinstance(when, str) or not is_template(when) or syntax_error(when):
        return ""
    expression = program.lone_expression(program.parse(when.strip()))
    while isinstance(expression, nodes.And | nodes.Or):
        expression = expression.right
    return ".".join(reversed(list(_dotted(expression)))) if isinstance(expression, nodes.Getattr) and expression.attr in TEXTS else ""


def _dotted(expression: nodes.Expr | None) -> Iterator[str]:
    while isinstance(expression, nodes.Getattr):
        yield expression.attr
        expression = expression.node
    yield expression.name if isinstance(expression, nodes.Name) else "…"
