"""The questions asked of every part of a playbook; each answer is a value to go on with, and a mistake noted where there is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from jinja2 import TemplateSyntaxError

from noetl.playbook import program
from noetl.playbook.document import Field, Node
from noetl.playbook.expression import is_template, syntax_error
from noetl.playbook.mistakes import NO_SYNONYMS, Mistakes, nearest, quote
from noetl.playbook.model import Json, Position

NOTHING: Mapping[str, Field] = MappingProxyType({})

NAME_LENGTH = 200
"""How many characters a name may have: of a playbook and its path, a step, a variable, an argument, a key of the workload."""


class Check:
    """One reading of one playbook: its mistakes so far, and the targets whose steps may still come."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.mistakes = mistakes
        self._targets: list[tuple[str, Position]] = []
        self._syntax: dict[str, str | None] = {}

    def mapping(self, node: Node, what: str) -> Mapping[str, Field]:
        """Return the fields of a mapping; anything else is a mistake and has none."""
        if node.fields is None:
            self.mistakes.add(node.position, f"{what} has to be a mapping")
            return NOTHING
        return node.fields

    def words(self, fields: Mapping[str, Field], known: Collection[str], what: str, synonyms: Mapping[str, str] = NO_SYNONYMS) -> None:
        """Refuse the keys that are not known here, except those that begin with `x-`; `synonyms` are words that others would use."""
        for word, field in fields.items():
            if word not in known and not word.startswith("x-"):
                self.mistakes.add(field.position, f"unknown key {quote(word)} in {what}", self.nearest(word, known, synonyms))

    def nearest(self, word: str, words: Collection[str], synonyms: Mapping[str, str] = NO_SYNONYMS) -> str:
        """Return a hint at the word that was meant, or nothing once so many mistakes were found that none is shown any more."""
        return "" if self.mistakes.full else nearest(word, words, synonyms)

    def field(self, fields: Mapping[str, Field], key: str) -> Node | None:
        """Return a field's value, None when it is absent or null."""
        found = fields.get(key)
        return None if found is None or found.node.value is None else found.node

    def text(self, node: Node, what: str) -> str:
        """Return a text that is not blank; anything else is a mistake, and empty."""
        if isinstance(node.value, str) and node.value.strip():
            return node.value
        is_scalar = node.fields is None and node.items is None and node.value is not None and not isinstance(node.value, str)
        self.mistakes.add(node.position, f"{what} has to be text", f'write it in quotes: "{node.text[:40]}"' if is_scalar else "")
        return ""

    def name(self, node: Node, what: str) -> str:
        """Return a name: one line of text of a bearable length."""
        name = self.text(node, what)
        if len(name) > NAME_LENGTH or not name.isprintable():
            hint = f"it has {len(name):,} characters" if len(name) > NAME_LENGTH else "leave out line breaks and control characters"
            self.mistakes.add(node.position, f"{what} has to be one line of at most {NAME_LENGTH} characters", hint)
            return ""
        return name

    def value(self, node: Node) -> Json:
        """Return a value whose strings may be templates; one that is none is a mistake."""
        self._templates(node)
        return node.value

    def values(self, node: Node | None, what: str) -> Mapping[str, Json]:
        """Return a mapping of names to values that may be templates; none given is an empty one."""
        if node is None:
            return {}
        fields = self.mapping(node, what)
        for key, field in fields.items():
            self.key(key, field.position, what)
        return {key: self.value(field.node) for key, field in fields.items()}

    def key(self, key: str, position: Position, what: str) -> None:
        """Refuse a key that is too long to be a name."""
        if len(key) > NAME_LENGTH:
            message = f"a name in {what} has {len(key):,} characters; at most {NAME_LENGTH} are possible"
            self.mistakes.add(position, message, "choose a shorter one, and put the text into its value")

    def target(self, name: str, position: Position) -> None:
        """Remember that a step of this name has to exist."""
        self._targets.append((name, position))

    def targets(self, steps: Collection[str]) -> None:
        """Refuse the remembered targets that are no step."""
        for name, position in self._targets:
            if name not in steps:
                hint = self.nearest(name, steps)
                if name == "end" and not hint.startswith("did you mean"):
                    hint = "a step without `next` ends its branch; add a step `end` only if something has to run last"
                self.mistakes.add(position, f"there is no step {quote(name)}", hint)

    def _templates(self, node: Node) -> None:
        if node.fields is not None:
            for field in node.fields.values():
                self._templates(field.node)
        elif node.items is not None:
            for item in node.items:
                self._templates(item)
        elif isinstance(node.value, str) and is_template(node.value):
            self._template(node, node.value)

    def _template(self, node: Node, text: str) -> None:
        if text not in self._syntax:
            self._syntax[text] = syntax_error(text)
        if error := self._syntax[text]:
            position = self._line(node, text) if node.block else node.position
            self.mistakes.add(position, error, "templates are Jinja2; put text that is none between {% raw %} and {% endraw %}")

    def _line(self, node: Node, text: str) -> Position:
        """Return the line of the playbook in which a literal block's template is wrong."""
        try:
            program.parse(text)
        except TemplateSyntaxError as error:
            line = min(node.position.line + error.lineno, len(self.mistakes.lines))
            written = self.mistakes.lines[line - 1]
            return Position(line, len(written) - len(written.lstrip()) + 1)
        except RecursionError:
            pass
        return node.position
