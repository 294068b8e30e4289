"""Quoting of values for the place in a shell command where they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import Undefined

from noetl.playbook.filters import to_json

QUOTED = "quoted for the shell"
"""Name of the filter that marks a value; the spaces keep it out of reach of a template's text."""

_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)(\\?)([\w.-]+)\1")
_WORD_BREAKS = frozenset(" \t\n;&|()")


class Unquotable(ValueError):
    """A value stands where no quoting can keep it from being read as code."""


class Value:
    """A value on its way into a command."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def join(pieces: Iterable[Any]) -> str:
    """Join a command's pieces, each value quoted for its place; raise Unquotable where there is no way to."""
    place = Place()
    command = []
    for piece in pieces:
        if isinstance(piece, Value):
            command.append(place.quote(piece.value))
        else:
            text = str(piece)
            place.read(text)
            command.append(text)
    return "".join(command)


class Place:
    """Where in a shell command its text has got to: plain, in quotes, in a comment, in a here-document."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._last = "\n"
        self._escaped = False
        self._heredocs: list[str] = []
        self._body: str | None = None

    def read(self, text: str) -> None:
        """Take in the next part of the command as it was written."""
        position = 0
        while position < len(text):
            position += self._step(text, position)

    def quote(self, value: Any) -> str:
        """Return a value as it must be written here."""
        inside = self._open[-1] if self._open else ""
        if self._escaped or (self._last == "$" and inside not in ("'", "#")):
            raise Unquotable("a value right after a backslash or a dollar sign cannot be quoted: put it into `env`, and write $NAME")
        if self._body is not None or "`" in self._open or inside == "$'":
            raise Unquotable("a value in a here-document, in backticks or in $'…' cannot be quoted: put it into `env`, and write $NAME")
        self._last = "v"
        match inside:
            case '"':
                return re.sub(r'([\\$`"])', r"\\\1", " ".join(_words(value)))
            case "'":
                return " ".join(_words(value)).replace("'", "'\\''")
            case "#":
                return " ".join(" ".join(_words(value)).split())
        return " ".join(shlex.quote(word) for word in _words(value))

    def _step(self, text: str, position: int) -> int:
        """Take in what stands at a position and return its length."""
        character = text[position]
        if self._body is not None:
            return self._read_body(character)
        if self._escaped:
            self._escaped = False
            self._last = "v"
            return 1
        last, self._last = self._last, character
        inside = self._open[-1] if self._open else ""
        match inside:
            case "'":
                self._close(character == "'")
            case "$'":
                self._escaped = character == "\\"
                self._close(character == "'")
            case "#":
                self._close(character == "\n")
                self._start_body(character)
            case '"':
                self._read_double(character, last)
            case _:
                return self._read_plain(text, position, last)
        return 1

    def _read_double(self, character: str, last: str) -> None:
        if character == "\\":
            self._escaped = True
        elif character == "(" and last == "$":
            self._open.append("(")
        elif character == "`":
            self._backtick()
        else:
            self._close(character == '"')

    def _read_plain(self, text: str, position: int, last: str) -> int:
        match text[position]:
            case "\\":
                self._escaped = True
            case "'":
                self._open.append("$'" if last == "$" else "'")
            case '"':
                self._open.append('"')
            case "`":
                self._backtick()
            case "(":
                self._open.append("(")
            case ")":
                self._close(bool(self._open) and self._open[-1] == "(")
            case "#" if last in _WORD_BREAKS:
                self._open.append("#")
            case "<" if text.startswith("<<<", position):
                return 3
            case "<" if heredoc := _HEREDOC.match(text, position):
                self._heredocs.append(heredoc[3])
                return len(heredoc[0])
            case "\n":
                self._start_body("\n")
        return 1

    def _backtick(self) -> None:
        if "`" in self._open:
            del self._open[self._open.index("`") :]
        else:
            self._open.append("`")

    def _close(self, closes: bool) -> None:
        if closes:
            self._open.pop()

    def _start_body(self, character: str) -> None:
        if character == "\n" and self._heredocs:
            self._body = ""

    def _read_body(self, character: str) -> int:
        assert self._body is not None
        if character != "\n":
            self._body += character
            return 1
        ended = self._body.lstrip("\t") == self._heredocs[0]
        if ended:
            self._heredocs.pop(0)
        self._body = "" if self._heredocs else None
        self._last = "\n"
        return 1


def _words(value: Any) -> list[str]:
    match value:
        case None | Undefined():
            return []
        case list() | tuple():
            return [word for item in value for word in _words(item)]
        case bool() | Mapping():
            return [to_json(value)]
    return [str(value)]
