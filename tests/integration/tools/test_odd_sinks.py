"""Odd values that a sink is to write: each is in the database as it was given, or refused by name. None is changed in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noetl.worker.sandbox import Done, Failed

HUGE = 2**200
SMILE = "\U0001f600 \u202e \u0301 \x7f \u2028"
# Of a column's type: what is written, and what a query finds then; an error's word where it is refused.
CASES: list[tuple[str, Any, Any]] = [
    ("text", SMILE, SMILE),
    ("text", "", ""),
    ("text", "a\0b", "NUL"),
    ("text", "\ud800", "surrogate"),
    ("text", HUGE, str(HUGE)),
    ("text", {"k": [HUGE, None, "it's"]}, json.dumps({"k": [HUGE, None, "it's"]})),
    ("text", "None", "None"),
    ("text", "{{ not a template }}", "{{ not a template }}"),
    ("text", "'; DROP TABLE x; --", "'; DROP TABLE x; --"),
    ("text", "$1 :name ?", "$1 :name ?"),
    ("text", "\\x41\\", "\\x41\\"),
    ("bigint", 2**63 - 1, 2**63 - 1),
    ("bigint", -(2**63), -(2**63)),
    ("bigint", 2**63, "out of range"),
    ("bigint", 1e30, "out of range"),
    ("bigint", 1.5, "invalid input"),
    ("bigint", "", "invalid input"),
    ("numeric", HUGE, HUGE),
    ("numeric", "NaN", None),
    ("double precision", 5e-324, 5e-324),
    ("double precision", 1.7976931348623157e308, 1.7976931348623157e308),
    ("double precision", HUGE, float(HUGE)),
    ("double precision", "Infinity", None),
    ("json", {"k": HUGE}, {"k": HUGE}),
    ("json", [2**64, -(2**64), 2**63], [2**64, -(2**64), 2**63]),
    ("jsonb", {"k": HUGE, "": [SMILE, 1e22, {}]}, {"k": HUGE, "": [SMILE, 1e22, {}]}),
    ("jsonb", "a\0b", "NUL"),
    ("jsonb", {"deep": [["a\0b"]]}, "NUL"),
    ("jsonb", [[[[[[[[[[]]]]]]]]]], [[[[[[[[[[]]]]]]]]]]),
    ("jsonb", HUGE, HUGE),
    ("boolean", "maybe", "invalid input"),
    ("boolean", 0, False),
    ("date", "2020-02-30", "out of range"),
    ("timestamptz", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
    ("text[]", ["a,b", 'q"', "\\", None, "NULL", "", " "], ["a,b", 'q"', "\\", None, "NULL", "", " "]),
    ("bigint[]", [2**63 - 1, None], [2**63 - 1, None]),
    ("bigint[]", [], []),
    ("uuid", "no uuid", "invalid input"),
]


async def query(database: Any, text: str) -> Any:
    outcome = await database.run("postgres", {"auth": "pg", "query": text})
    assert isinstance(outcome, Done), outcome
    return json.loads(outcome.result_json)["command_0"].get("rows")


@pytest.mark.parametrize("form", ["table", "statement"])
async def test_an_odd_value_is_written_as_it_is_or_refused(database: Any, form: str) -> None:
    name = f"odd_{form}"
    columns = ", ".join(f"v{number} {column}" for number, (column, _, _) in enumerate(CASES))
    await query(database, f"DROP TABLE IF EXISTS {name}")
    await query(database, f"CREATE TABLE {name} (n integer, {columns})")
    refused: dict[int, str] = {}
    for number, (_, written, _) in enumerate(CASES):
        column = f"v{number}"
        how = {"table": name} if form == "table" else {"statement": f"INSERT INTO {name} (n, {column}) VALUES (:n, :{column})"}
        scope = {"this": {"n": number, column: written}, "execution_id": "e1"}
        outcome = await database.run(
            "postgres", {"auth": "pg", **how}, envelopes=("this",), sink={"data": None, "has_data": False}, scope=scope
        )
        if isinstance(outcome, Failed):
            refused[number] = outcome.error["message"]
    found = {row["n"]: row for row in await query(database, f"SELECT * FROM {name}")}
    await query(database, f"DROP TABLE {name}")
    wrong = {}
    for number, (column, written, expected) in enumerate(CASES):
        if number in refused:
            fine = number not in found and isinstance(expected, str) and expected in refused[number]
        else:
            fine = found[number][f"v{number}"] == expected
        if not fine:
            wrong[column, repr(written)[:60]] = refused.get(number) or repr(found[number][f"v{number}"])[:200]
    assert wrong == {}


@pytest.mark.parametrize(
    ("column", "written", "expected"),
    [
        ("VARCHAR", SMILE, SMILE),
        ("VARCHAR", "'; DROP TABLE t; --", "'; DROP TABLE t; --"),
        ("HUGEINT", 2**100, 2**100),
        ("BIGINT", 2**63, "out of range"),
        ("DOUBLE", 1e300, 1e300),
        ("VARCHAR", {"k": [None, "it's"]}, '{"k": [null, "it\'s"]}'),
        ("JSON", {"k": 2**63}, {"k": 2**63}),
        ("VARCHAR", None, None),
        ("VARCHAR", "", ""),
    ],
)
async def test_an_odd_value_in_duckdb(bench: Any, column: str, written: Any, expected: Any) -> None:
    assert isinstance(await bench.run("duckdb", {"query": f"CREATE TABLE t (v {column})"}), Done)
    sink = {"sink": {"data": None, "has_data": False}, "scope": {"this": {"v": written}, "execution_id": "e1"}}
    outcome = await bench.run("duckdb", {"statement": "INSERT INTO t VALUES (:v)"}, envelopes=("this",), **sink)
    if isinstance(outcome, Failed):
        assert isinstance(expected, str) and expected in outcome.error["message"].lower(), outcome.error
        return
    found = await bench.run("duckdb", {"query": "SELECT v FROM t"})
    assert json.loads(found.result_json) == [{"v": expected}]


async def test_numbers_beyond_64_bits_in_json_keep_their_digits(database: Any) -> None:
    text = f"SELECT '{{\"a\": {HUGE}, \"b\": [{2**64}]}}'::jsonb AS j, '{-HUGE}'::json AS k"
    assert await query(database, text) == [{"j": {"a": HUGE, "b": [2**64]}, "k": -HUGE}]
