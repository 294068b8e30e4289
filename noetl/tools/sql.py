"""Cutting a text of SQL into its statements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<text>'(?:[^']|'')*(?:'|\Z))
    | (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$)
    | (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<end>;)
    | ::
    | :(?P<named>[A-Za-z_]\w*)
    | \$(?P<number>\d+)
    | (?P<next>%s)\b
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_LEADING = re.compile(r"\s+|--[^\n]*|(?P<block>/\*)")
_WORD = re.compile(r"\w+")
_SHOWN = 120
_BEFORE_NO_PLACEHOLDER = frozenset("]['\")}:")
"""What stands ahead of a colon in a slice, a struct or a cast."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without its semicolon and the comments ahead of it, and in which line of its script it begins."""

    text: str
    line: int = 1

    @property
    def verb(self) -> str:
        """Its first word, upper-case."""
        word = _WORD.match(self.text)
        return word[0].upper() if word else ""

    @property
    def excerpt(self) -> str:
        """Its beginning, in one line."""
        return _short(self.text)

    def shown(self, number: int) -> str:
        """Return one of its lines, counted from 0, with its number in the script."""
        return f"line {self.line + number}: {_short(self.text.split(chr(10))[number])}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."


def statements(text: str) -> list[Statement]:
    """Cut at the semicolons that stand in no quotes, no dollar quotes and no comment; what has only comments is left out."""
    found: list[Statement] = []
    begin = 0
    for end in (*_semicolons(text), len(text)):
        piece = text[begin:end]
        start = _leading_comments(piece)
        if bare := piece[start:].strip():
            found.append(Statement(bare, text.count("\n", 0, begin + start) + 1))
        begin = end + 1
    return found


def filled(text: str, write: Callable[[str | int], str], *, positional: bool = False) -> str:
    """Replace each placeholder `:name` outside quotes and comments by what `write(name)` returns.

    `positional` ones are `%s` and `$1` too, for which `write` is given their number from 0.
    """
    pieces: list[str] = []
    begin = count = 0
    for match in _tokens(text):
        key: str | int
        if match["named"] and not _is_part_of_value(text, match.start()):
            key = match["named"]
        elif positional and match["number"]:
            key = int(match["number"]) - 1
        elif positional and match["next"]:
            key, count = count, count + 1
        else:
            continue
        pieces += (text[begin : match.start()], write(key))
        begin = match.end()
    return "".join((*pieces, text[begin:]))


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders `:name` in a text."""
    names: set[str] = set()

    def note(name: str | int) -> str:
        names.add(str(name))
        return ""

    filled(text, note)
    return names


def _is_part_of_value(text: str, start: int) -> bool:
    before = text[start - 1] if start else " "
    return before in _BEFORE_NO_PLACEHOLDER or before.isalnum() or before == "_"


def _semicolons(text: str) -> Iterator[int]:
    return (match.start() for match in _tokens(text) if match["end"])


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """Yield what stands in no quotes, no dollar quotes and no comment, and quotes as a whole."""
    position = 0
    while match := _TOKEN.search(text, position):
        position = match.end()
        yield match
        if match["dollar"]:
            close = text.find(match["dollar"], position)
            position = len(text) if close < 0 else close + len(match["dollar"])
        elif match["block"]:
            position = _end_of_comment(text, position)


def _end_of_comment(text: str, position: int) -> int:
    """Return where a block comment ends; they nest."""
    depth = 1
    while depth:
        match = _BLOCK_EDGE.search(text, position)
        if match is None:
            return len(text)
        depth += 1 if match[0] == "/*" else -1
        position = match.end()
    return position


def _leading_comments(piece: str) -> int:
    """Return where the comments and the spaces ahead of a statement end."""
    position = 0
    while match := _LEADING.match(piece, position):
        position = _end_of_comment(piece, match.end()) if match["block"] else match.end()
    return position
