from __future__ import annotations

import datetime
from typing import Any

import pytest

from noetl.tools.base import ToolError
from noetl.tools.columns import Table, Type, as_text, insert, name_parts
from noetl.tools.statements import literal

TEXT, INTEGER, FLOAT = Type("text", "S"), Type("integer", "N", is_integer=True), Type("double precision", "N")
BOOLEAN, JSON, ARRAY, DATE = Type("boolean", "B"), Type("jsonb", "U", is_json=True), Type("integer[]", "A"), Type("date", "D")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, TEXT, None),
        (None, JSON, None),
        (5, TEXT, "5"),
        (True, TEXT, "true"),
        (True, INTEGER, "1"),
        (3.0, INTEGER, "3"),
        (3.0, FLOAT, "3.0"),
        (1, BOOLEAN, "1"),
        ({"a": "ü"}, TEXT, '{"a": "ü"}'),
        ("[1]", JSON, "[1]"),
        ("text", JSON, '"text"'),
        ("12", JSON, '"12"'),
        ([1, [None]], JSON, "[1, [null]]"),
        ([1, None, [2]], ARRAY, '{"1",NULL,{"2"}}'),
        (['q"\\', True], ARRAY, '{"q\\"\\\\",true}'),
        ("[1, 2]", ARRAY, '{"1","2"}'),
        ("{1,2}", ARRAY, "{1,2}"),
        (datetime.date(2020, 1, 2), DATE, "2020-01-02"),
        (b"\x01", Type("bytea", "U"), "\\x01"),
    ],
)
def test_values_as_text(value: Any, kind: Type, expected: str | None) -> None:
    assert as_text(value, kind) == expected


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("t", ("t",)),
        ("Public.T", ("public", "t")),
        ('"Public"."T""x"', ("Public", 'T"x')),
        ("a-b", ("a-b",)),
        ('"a.b"', ("a.b",)),
    ],
)
def test_names_of_tables(written: str, parts: tuple[str, ...]) -> None:
    assert name_parts(written) == parts


@pytest.mark.parametrize("written", ["a.b.c", 'a"b', "", ".", "a\0"])
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(ToolError):
        name_parts(written)


def test_inserts() -> None:
    table = Table(("s", 't"'), {"id": INTEGER, "V": TEXT})
    base = 'INSERT INTO "s"."t""" ("id", "V") VALUES ($1::text::integer, $2::text::text)'
    assert insert(table, ["id", "V"], None) == base
    assert insert(table, ["id", "V"], ["id"]) == base + ' ON CONFLICT ("id") DO UPDATE SET "V" = EXCLUDED."V"'
    assert insert(table, ["id"], ["id"]).endswith('ON CONFLICT ("id") DO NOTHING')


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (1, "1"),
        (-1.5, "(-1.5)"),
        ("it's", "'it''s'"),
        ("a\\'b", " E'a\\\\''b'"),
        ([1], "'[1]'"),
    ],
)
def test_literals(value: Any, expected: str) -> None:
    assert literal(value) == expected
