"""What is wrong with a playbook's text: collected, placed, shown with the line and a caret, each with what to write instead."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, NoReturn

from noetl.errors import PlaybookError
from noetl.playbook.model import Position

MAX_MISTAKES = 100
"""So many mistakes are kept with their excerpts; the rest are only counted."""

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML 1.1: positions and excerpts count lines alike."""

NO_SYNONYMS: Mapping[str, str] = MappingProxyType({})

_WINDOW = 120
_LONGEST_WORD = 80
_MOST_WORDS = 1_000


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, where it stands, and what to write instead."""

    position: Position
    message: str
    hint: str = ""


class Mistakes:
    """The mistakes and warnings of one text, in the order in which they were found."""

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self.lines = LINE_BREAK.split(text)
        self._found: dict[Mistake, None] = {}
        self._uncounted = 0
        self._warnings: dict[tuple[Position, str], None] = {}

    @property
    def full(self) -> bool:
        """Say whether further mistakes are only counted, so that no hint has to be worked out for them."""
        return len(self._found) >= MAX_MISTAKES

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings, from the top of the text to its end."""
        ordered = sorted(self._warnings, key=lambda warning: (warning[0].line, warning[0].column))
        return tuple(f"line {position.line}: {message}" for position, message in ordered)

    def add(self, position: Position, message: str, hint: str = "") -> None:
        """Keep a mistake; the same one at the same place counts once."""
        if self.full:
            self._uncounted += 1
        else:
            self._found[Mistake(position, message, hint)] = None

    def warn(self, position: Position, message: str) -> None:
        """Keep a warning: something legal that is probably not meant."""
        if len(self._warnings) < MAX_MISTAKES:
            self._warnings[position, message] = None

    def stop(self, position: Position, message: str, hint: str = "") -> NoReturn:
        """Raise with this mistake and all that were found before it: nothing after it can be read."""
        self._found[Mistake(position, message, hint)] = None
        raise self.error()

    def check(self) -> None:
        """Raise PlaybookError when there is any mistake."""
        if self._found:
            raise self.error()

    def error(self) -> PlaybookError:
        """Return all mistakes as one error, which speaks of the first and has all of them in its details."""
        ordered = sorted(self._found, key=lambda mistake: (mistake.position.line, mistake.position.column))
        first, more = ordered[0], len(ordered) - 1 + self._uncounted
        place = f"{self._source}:{first.position.line}:{first.position.column}"
        message = f"{place}: {first.message}\n{self.excerpt(first.position)}"
        if more:
            message += f"\n(and {more} more {'problem' if more == 1 else 'problems'})"
        problems = [self._as_json(mistake) for mistake in ordered]
        return PlaybookError(message, first.hint, details={"source": self._source, "problems": problems})

    def excerpt(self, position: Position) -> str:
        """Return the line of a position and below it a line with a caret; of a long line the part around the caret."""
        line = self.lines[position.line - 1] if position.line <= len(self.lines) else ""
        column = min(position.column - 1, len(line))
        start = max(0, column - _WINDOW // 2) if len(line) > _WINDOW else 0
        shown = "".join(map(_shown, line[start : start + _WINDOW]))
        return f"{shown}\n{''.join(map(_blank, shown[: column - start]))}^"

    def _as_json(self, mistake: Mistake) -> dict[str, Any]:
        return {
            "line": mistake.position.line,
            "column": mistake.position.column,
            "message": mistake.message,
            "hint": mistake.hint,
            "excerpt": self.excerpt(mistake.position),
        }


def quote(word: object) -> str:
    """Return a word of the playbook as messages show it: in backticks, printable, not longer than a line can bear."""
    text = str(word)
    shown = "".join(map(_shown, text[:_LONGEST_WORD]))
    return f"`{shown}…`" if len(text) > _LONGEST_WORD else f"`{shown}`"


def not_yet(what: str) -> str:
    """Return the message for a word of the language that this version does not have."""
    return f"{what} is known to the language but not to this version"


def nearest(word: str, words: Collection[str], synonyms: Mapping[str, str] = NO_SYNONYMS) -> str:
    """Return a hint: the known word that is nearest to this one (or is meant by the nearest synonym), or else the words that there are."""
    if len(word) <= _LONGEST_WORD:
        by_fold = {**synonyms, **{known.casefold(): known for known in islice(words, _MOST_WORDS)}}
        for match in difflib.get_close_matches(word.casefold(), by_fold, n=1):
            return f"did you mean {quote(by_fold[match])}?"
    if not words or len(words) > 25:
        return ""
    return f"known here: {', '.join(sorted(words))}"


def _shown(character: str) -> str:
    """Return a character, or a stand-in for one that would move a terminal's cursor or change its colour."""
    return character if character.isprintable() or character == "\t" else "\ufffd"


def _blank(character: str) -> str:
    """Return what takes as much room as a character, so that the caret stands below the right one."""
    if character == "\t":
        return "\t"
    return "  " if unicodedata.east_asian_width(character) in "WF" else " "
