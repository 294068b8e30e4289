from __future__ import annotations

import pytest

from noetl.tools.sql import filled, placeholders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VALUES (:a, :b)", "VALUES (<a>, <b>)"),
        ("x::text = :a::int", "x::text = <a>::int"),
        ("':a' = \":a\" || E'\\':a' || $$:a$$ || $q$ :a $q$ -- :a\n/* :a /* :a */ */ :a", None),
        ("arr[1:n] arr[:n] {'k':v} a:=1 f(a := :a)", "arr[1:n] arr[:n] {'k':v} a:=1 f(a := <a>)"),
        (":a:b", "<a>:b"),
        ("%s $1 :a", "%s $1 <a>"),
    ],
)
def test_names(text: str, expected: str | None) -> None:
    expected = expected or "<a>".join(text.rsplit(":a", 1))
    assert filled(text, lambda name: f"<{name}>") == expected


def test_positions() -> None:
    assert filled("(%s, %s, '%s', $2, 10 %st)", lambda key: f"<{key}>", positional=True) == "(<0>, <1>, '%s', <1>, 10 %st)"


def test_the_names_there_are() -> None:
    assert placeholders("SELECT :a, :b, ':c', :a") == {"a", "b"}
