"""YAML text to nodes that know their place, within bounds of size, depth and aliases.

The tree is built from the parser's events and not by PyYAML's composer, which recurses in C without a bound and expands no alias count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from noetl.playbook.mistakes import LINE_BREAK, Mistakes, quote
from noetl.playbook.model import Json, Position
from noetl.playbook.scalars import ScalarError, resolve, value_of

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 100
MAX_NODES = 200_000
MAX_CHARACTERS = 8 * MAX_BYTES
"""Both are bounds on what the text stands for once every alias is written out."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BARE_TEMPLATE = re.compile(r"(?:^|[:\-,\[{]\s*)\{[{%]")
_QUOTE_TEMPLATE = 'put a value that begins with a template in quotes: "{{ … }}"'


@dataclass(frozen=True, slots=True)
class Node:
    """A value in the text: a mapping has `fields`, a list has `items`, anything else is a scalar.

    `value` is the whole subtree as JSON (shared where the text uses aliases, so never to be changed), `text` a scalar as it is written,
    `block` whether that is a literal block (`|`), whose lines are lines of the playbook.
    """

    position: Position
    value: Json
    fields: dict[str, Field] | None = None
    items: tuple[Node, ...] | None = None
    text: str = ""
    block: bool = False
    nodes: int = 1
    characters: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """A key's place and its value."""

    position: Position
    node: Node


def load(text: str, mistakes: Mistakes) -> Node:
    """Return the root of the one document in the text; raise when it cannot be read, note the mistakes that can be read around."""
    start = Position(1, 1)
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        mistakes.stop(start, f"the playbook is larger than {MAX_BYTES} bytes", "keep data in files or tables and read it in a step")
    if forbidden := _FORBIDDEN.search(text, 1 if text.startswith("\ufeff") else 0):
        message = f"the character U+{ord(forbidden.group()):04X} is not allowed in YAML"
        mistakes.stop(_position_of(text, forbidden.start()), message, "leave it out, or make it in a step's code")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = _Composer(yaml.parse(text, Loader=loader), mistakes).document()
    except yaml.YAMLError as error:
        position, message = _syntax_error(error)
        mistakes.stop(position, message, _syntax_hint(mistakes.lines, position, message))
    if root is None or root.value is None:
        mistakes.stop(start, "the playbook is empty", "begin with `apiVersion: noetl.io/v2`")
    return root


class _Composer:
    """Turns a stream of parser events into nodes."""

    def __init__(self, events: Iterator[yaml.Event], mistakes: Mistakes) -> None:
        self._events = events
        self._mistakes = mistakes
        self._anchors: dict[str, Node | None] = {}
        self._merged = 0

    def document(self) -> Node | None:
        """Return the root of the only document, None when there is none."""
        root: Node | None = None
        for event in self._events:
            match event:
                case yaml.DocumentStartEvent() if root is not None:
                    self._mistakes.stop(_place(event), "a second document begins here", "register one playbook at a time")
                case yaml.NodeEvent():
                    root = self._node(event, 1)
        return root

    def _node(self, event: yaml.NodeEvent, depth: int) -> Node:
        position = _place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, position)
        if depth > MAX_DEPTH:
            self._mistakes.stop(position, f"nested more than {MAX_DEPTH} levels deep")
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        match event:
            case yaml.MappingStartEvent():
                node = self._mapping(position, depth)
            case yaml.SequenceStartEvent():
                node = self._list(position, depth)
            case _:
                assert isinstance(event, yaml.ScalarEvent)
                node = self._scalar(event, position)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, position: Position) -> Node:
        if event.anchor not in self._anchors:
            message = f"no anchor {quote(f'&{event.anchor}')} stands before this alias"
            self._mistakes.stop(position, message, "a text that begins with * needs quotes")
        node = self._anchors[event.anchor]
        if node is None:
            self._mistakes.stop(position, f"{quote(f'*{event.anchor}')} stands inside what it refers to")
        return node

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> Node:
        tag = event.tag if event.tag not in (None, "!") else resolve(event.value, plain=event.implicit[0])
        try:
            value = value_of(tag, event.value)
        except ScalarError as error:
            self._mistakes.add(position, error.message, error.hint)
            value = None
        return Node(position, value, text=event.value, block=event.style == "|", characters=len(event.value))

    def _list(self, position: Position, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            assert isinstance(event, yaml.NodeEvent)
            items.append(self._node(event, depth + 1))
        node = Node(
            position,
            [item.value for item in items],
            items=tuple(items),
            nodes=1 + sum(item.nodes for item in items),
            characters=sum(item.characters for item in items),
        )
        return self._bounded(node)

    def _mapping(self, position: Position, depth: int) -> Node:
        own: dict[str, Field] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            assert isinstance(event, yaml.NodeEvent)
            is_merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._node(event, depth + 1)
            value_event = next(self._events)
            assert isinstance(value_event, yaml.NodeEvent)
            value = self._node(value_event, depth + 1)
            if is_merge:
                merged.append(value)
            elif key.fields is not None or key.items is not None:
                self._mistakes.add(key.position, "a key has to be text", _QUOTE_TEMPLATE if key.fields is not None else "")
            else:
                if key.text in own:
                    self._mistakes.warn(key.position, f"the key {quote(key.text)} is repeated; the last one counts")
                own[key.text] = Field(key.position, value)
        fields = self._merge(merged) | own if merged else own
        node = Node(
            position,
            {key: field.node.value for key, field in fields.items()},
            fields=fields,
            nodes=1 + sum(1 + field.node.nodes for field in fields.values()),
            characters=sum(len(key) + field.node.characters for key, field in fields.items()),
        )
        return self._bounded(node)

    def _merge(self, values: list[Node]) -> dict[str, Field]:
        """Return the fields that `<<` brings in; of several mappings the earlier one wins."""
        fields: dict[str, Field] = {}
        for value in values:
            for source in value.items if value.items is not None else (value,):
                if source.fields is None:
                    self._mistakes.add(source.position, "`<<` takes a mapping or a list of mappings")
                    continue
                self._merged += 1 + len(source.fields)
                if self._merged > MAX_NODES:
                    self._mistakes.stop(value.position, f"merge keys bring in more than {MAX_NODES} fields")
                for key, field in source.fields.items():
                    fields.setdefault(key, field)
        return fields

    def _bounded(self, node: Node) -> Node:
        if node.nodes > MAX_NODES or node.characters > MAX_CHARACTERS:
            bound = f"{MAX_NODES} values" if node.nodes > MAX_NODES else f"{MAX_CHARACTERS} characters"
            self._mistakes.stop(node.position, f"this stands for more than {bound} once its aliases are written out")
        return node


def _place(event: yaml.Event) -> Position:
    mark = event.start_mark
    assert mark is not None
    return Position(mark.line + 1, mark.column + 1)


def _position_of(text: str, index: int) -> Position:
    line, start = 1, 0
    for found in LINE_BREAK.finditer(text, 0, index):
        line, start = line + 1, found.end()
    return Position(line, index - start + 1)


def _syntax_error(error: yaml.YAMLError) -> tuple[Position, str]:
    """Return where and what: YAML's own words, in one line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Position(1, 1), f"not YAML: {error}"
    mark = error.problem_mark or error.context_mark
    position = Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)
    words = error.problem or "cannot be read"
    if "nesting depth" in words:
        return position, f"nested more than {MAX_DEPTH} levels deep"
    return position, f"not YAML: {words}{f' ({error.context})' if error.context else ''}"


def _syntax_hint(text: Sequence[str], position: Position, message: str) -> str:
    """Return what usually mends a syntax error of this sort on this line or the one before it."""
    lines = text[max(0, position.line - 2) : position.line]
    if any(_BARE_TEMPLATE.search(line) for line in lines):
        return _QUOTE_TEMPLATE
    if lines and "\t" in lines[-1][: len(lines[-1]) - len(lines[-1].lstrip())]:
        return "indent with spaces, not with tabs"
    if "mapping values" in message:
        return "put a text that has `: ` in it in quotes, and check the indentation"
    if "unknown escape" in message or "escape code" in message:
        return "in double quotes a backslash begins an escape: double it, or use single quotes"
    return "check the indentation, and that quotes and brackets are closed"
