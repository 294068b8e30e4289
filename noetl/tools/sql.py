"""Cutting a text of SQL into its statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_LEADING = re.compile(r"\s+|--[^\n]*|(?P<block>/\*)")
_WORD = re.compile(r"\w+")
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, without its semicolon and the comments ahead of it."""

    text: str

    @property
    def verb(self) -> str:
        """Its first word, upper-case."""
        word = _WORD.match(self.text)
        return word[0].upper() if word else ""

    @property
    def excerpt(self) -> str:
        """Its beginning, in one line."""
        line = " ".join(self.text.split())
        return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."


def statements(text: str) -> list[Statement]:
    """Cut at the semicolons that stand in no quotes, no dollar quotes and no comment; what has only comments is left out."""
    pieces: list[str] = []
    begin = 0
    for end in _semicolons(text):
        pieces.append(text[begin:end])
        begin = end + 1
    pieces.append(text[begin:])
    bare = (_without_leading_comments(piece) for piece in pieces)
    return [Statement(piece) for piece in bare if piece]


def _semicolons(text: str) -> Iterator[int]:
    position = 0
    while match := _TOKEN.search(text, position):
        position = match.end()
        if match["end"]:
            yield match.start()
        elif match["dollar"]:
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


def _without_leading_comments(piece: str) -> str:
    position = 0
    while match := _LEADING.match(piece, position):
        position = _end_of_comment(piece, match.end()) if match["block"] else match.end()
    return piece[position:].strip()
