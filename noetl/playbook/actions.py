"""The actions of a rule's `then`: one row each, in the order in which those of one mapping are carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Action, Call, Fail, Json, Log, Next, Result, Set
from noetl.playbook.repeats import PAGES, read_collect, read_page, read_retry
from noetl.playbook.sinks import read_sink
from noetl.playbook.targets import WORDS as TARGET_WORDS
from noetl.playbook.targets import read_next, read_target

Reader = Callable[[Check, Node], Action | None]
"""Reads the value of an action; None when it is a mistake, or asks for nothing."""


def read_set(check: Check, node: Node) -> Action | None:
    """Read `{name: value}` or `[{name, value}, …]`; a mapping under `ctx` is one to merge."""
    if node.items is not None:
        pairs = list(_list_pairs(check, node))
    else:
        pairs = [(key, entry.node) for key, entry in check.mapping(node, "`set`").items()]
        for key, entry in check.mapping(node, "`set`").items():
            check.key(key, entry.position, "`set`")
    merge: dict[str, Json] | None = None
    values: list[tuple[str, Json]] = []
    for name, value_node in pairs:
        value = check.value(value_node)
        if name == "ctx" and isinstance(value, dict):
            merge = {**(merge or {}), **value}
        else:
            values.append((name, value))
    return Set(tuple(values), merge)


def read_result(check: Check, node: Node) -> Action | None:
    """Read `{from: dotted.name}`, or a value that becomes the step's result."""
    source = node.fields["from"].node if node.fields is not None and set(node.fields) == {"from"} else None
    if source is None:
        return Result(check.value(node))
    name = check.text(source, "`from` of `result`")
    if "{{" in name:
        return Result(check.value(source))
    if any(character.isspace() for character in name):
        hint = "write {from: response.data}, or a template without `from`"
        check.mistakes.add(source.position, "`from` of `result` has to be a dotted name", hint)
        return None
    return Result(source=name) if name else None


def read_log(check: Check, node: Node) -> Action | None:
    """Read what is written to the log."""
    return Log(check.value(node))


def read_call(check: Check, node: Node) -> Action | None:
    """Read `{step, args}`, or without a step what to ask for in the next page."""
    fields = check.mapping(node, "`call`")
    if "step" not in fields and not fields.keys().isdisjoint(PAGES):
        return read_page(check, fields, "`call`")
    target = read_target(check, node, "`call`") if node.fields is not None else None
    return Call(target) if target is not None else None


def read_next_action(check: Check, node: Node) -> Action | None:
    """Read the forms of `next`."""
    targets = read_next(check, node)
    return Next(targets) if targets else None


def read_fail(check: Check, node: Node) -> Action | None:
    """Read `{message: …}`, a text, or true."""
    if node.fields is not None:
        check.words(node.fields, ("message",), "`fail`")
        message = check.field(node.fields, "message")
        return Fail(check.value(message) if message is not None else _NO_MESSAGE)
    if node.value is True:
        return Fail(_NO_MESSAGE)
    return Fail(check.value(node)) if check.text(node, "`fail`") else None


@dataclass(frozen=True, slots=True)
class Row:
    """An action: what reads it, its JSON Schema, whether null is a value of it."""

    read: Reader
    schema: Mapping[str, Any] = field(default_factory=dict)
    nullable: bool = False


_PAIR = {"type": "object", "required": ["name", "value"], "properties": {"name": {"$ref": "#/$defs/name"}}}
_MESSAGE = {"anyOf": [{"$ref": "#/$defs/text"}, {"const": True}, {"type": "object", "propertyNames": {"enum": ["message"]}}]}

ACTIONS: Mapping[str, Row] = {
    "collect": Row(read_collect, {"$ref": "#/$defs/collect"}),
    "set": Row(read_set, {"anyOf": [{"type": "object"}, {"type": "array", "items": _PAIR}]}),
    "result": Row(read_result, nullable=True),
    "sink": Row(read_sink, {"$ref": "#/$defs/sink"}),
    "log": Row(read_log),
    "retry": Row(read_retry, {"$ref": "#/$defs/retry"}),
    "call": Row(read_call, {"anyOf": [{"$ref": "#/$defs/target"}, {"$ref": "#/$defs/page"}]}),
    "next": Row(read_next_action, {"$ref": "#/$defs/next"}, nullable=True),
    "fail": Row(read_fail, _MESSAGE),
}
"""Every action of the language in the order of its carrying out."""

_NO_MESSAGE = "an action `fail` ended the execution"


def read_then(check: Check, node: Node) -> tuple[Action, ...]:
    """Return the actions of a `then`: those of a mapping in the order of the table, those of a list one item after the other."""
    items = node.items if node.items is not None else (node,)
    return tuple(action for item in items for action in _item(check, item, in_list=node.items is not None))


def _item(check: Check, node: Node, *, in_list: bool) -> Iterator[Action]:
    if node.fields is None:
        check.mistakes.add(node.position, "`then` takes a mapping of actions, or a list of those", "write then: {next: NAME}")
        return
    fields = node.fields
    if "step" in fields and set(fields) <= set(TARGET_WORDS):
        if not in_list:
            check.mistakes.add(fields["step"].position, "`then` takes actions, not a step", "write then: {next: {step: …}}")
        elif action := read_next_action(check, node):
            yield action
        return
    _refuse_unknown(check, fields)
    for word, row in ACTIONS.items():
        if word not in fields:
            continue
        position, value = fields[word].position, fields[word].node
        if value.value is None and not row.nullable:
            check.mistakes.add(position, f"action `{word}` is empty")
        elif action := row.read(check, value):
            yield action


def _refuse_unknown(check: Check, fields: Mapping[str, Field]) -> None:
    for word, entry in fields.items():
        if word not in ACTIONS and not word.startswith("x-"):
            check.mistakes.add(entry.position, f"unknown action {quote(word)}", check.nearest(word, ACTIONS))


def _list_pairs(check: Check, node: Node) -> Iterator[tuple[str, Node]]:
    for item in node.items or ():
        fields = check.mapping(item, "an entry of `set`")
        check.words(fields, ("name", "value"), "an entry of `set`")
        if "name" in fields and "value" in fields:
            if name := check.name(fields["name"].node, "`name` of `set`"):
                yield name, fields["value"].node
        elif fields:
            hint = "write {name: NAME, value: VALUE}, or a mapping of names to values"
            check.mistakes.add(item.position, "an entry of `set` needs `name` and `value`", hint)
