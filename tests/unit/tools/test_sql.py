from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.tools.sql import statements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;; ; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("-- one; two\nSELECT 1;\n  -- it's three\n", ["SELECT 1"]),
        ("SELECT 1 -- it's; one\n, 2; SELECT 3", ["SELECT 1 -- it's; one\n, 2", "SELECT 3"]),
        ("SELECT 'a;b', 'it''s;', \"c;\"\"d\"; SELECT 2", ["SELECT 'a;b', 'it''s;', \"c;\"\"d\"", "SELECT 2"]),
        ("SELECT E'it\\'s;'; SELECT 2", ["SELECT E'it\\'s;'", "SELECT 2"]),
        ("SELECT 'back\\'; SELECT 2", ["SELECT 'back\\'", "SELECT 2"]),
        ("SELECT $$a;'b$$; SELECT $t$ $$;$t$", ["SELECT $$a;'b$$", "SELECT $t$ $$;$t$"]),
        ("SELECT $1; SELECT a$b$; SELECT 3", ["SELECT $1", "SELECT a$b$", "SELECT 3"]),
        ("/* a; /* b; */ c; */ SELECT 1; SELECT 2 /* ; */", ["SELECT 1", "SELECT 2 /* ; */"]),
        ("SELECT 'open; SELECT 2", ["SELECT 'open; SELECT 2"]),
        ("-- only this", []),
        ("", []),
    ],
)
def test_cutting(text: str, expected: list[str]) -> None:
    assert [statement.text for statement in statements(text)] == expected


@pytest.mark.parametrize(("text", "verb"), [("select 1", "SELECT"), ("/* x */ -- y\n call p()", "CALL"), ("(SELECT 1)", "")])
def test_verbs(text: str, verb: str) -> None:
    assert statements(text)[0].verb == verb


@given(st.text(alphabet="a;'\"$-/*\n E\\", max_size=40))
def test_cutting_never_loses_what_is_no_semicolon(text: str) -> None:
    assert len("".join(statement.text for statement in statements(text))) <= len(text)
