"""Collecting mistakes, and how they are shown."""

import pytest

from noetl.errors import PlaybookError
from noetl.playbook.mistakes import MAX_MISTAKES, Mistakes, nearest, quote
from noetl.playbook.model import Position


def test_mistakes_are_shown_from_the_top_down_and_once() -> None:
    mistakes = Mistakes("a\nbc\n", "x.yaml")
    mistakes.add(Position(2, 2), "second")
    mistakes.add(Position(1, 1), "first", "mend it")
    mistakes.add(Position(2, 2), "second")
    with pytest.raises(PlaybookError) as raised:
        mistakes.check()
    assert raised.value.message == "x.yaml:1:1: first\na\n^\n(and 1 more problem)"
    assert raised.value.hint == "mend it"
    assert [problem["message"] for problem in raised.value.details["problems"]] == ["first", "second"]


def test_only_so_many_are_kept_the_rest_is_counted() -> None:
    mistakes = Mistakes("a" * 300, "x")
    for column in range(MAX_MISTAKES + 10):
        mistakes.add(Position(1, column + 1), "m")
    error = mistakes.error()
    assert len(error.details["problems"]) == MAX_MISTAKES
    assert error.message.endswith(f"(and {MAX_MISTAKES + 9} more problems)")


@pytest.mark.parametrize(
    ("line", "column", "excerpt"),
    [
        ("ab", 2, "ab\n ^"),
        ("ab", 9, "ab\n  ^"),
        ("\tab", 2, "\tab\n\t^"),
        ("中b", 2, "中b\n  ^"),
        ("\x1b[1mb", 5, "\ufffd[1mb\n    ^"),
        ("x" * 200 + "y" + "z" * 200, 201, "x" * 60 + "y" + "z" * 59 + "\n" + " " * 60 + "^"),
    ],
)
def test_excerpt(line: str, column: int, excerpt: str) -> None:
    assert Mistakes(line, "x").excerpt(Position(1, column)) == excerpt


def test_nothing_wrong_raises_nothing() -> None:
    Mistakes("", "x").check()


def test_warnings_are_in_the_order_of_the_text() -> None:
    mistakes = Mistakes("", "x")
    mistakes.warn(Position(3, 1), "later")
    mistakes.warn(Position(2, 1), "sooner")
    assert mistakes.warnings == ("line 2: sooner", "line 3: later")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("nxt", "did you mean `next`?"),
        ("NEXT", "did you mean `next`?"),
        ("where", "did you mean `case`?"),
        ("zzz", "known here: case, next"),
    ],
)
def test_nearest(word: str, hint: str) -> None:
    assert nearest(word, ("next", "case"), {"when": "case"}) == hint


def test_quote_shortens_and_hides_what_a_terminal_would_obey() -> None:
    assert quote("a\x1bb") == "`a\ufffdb`"
    assert quote("x" * 200) == f"`{'x' * 80}…`"
