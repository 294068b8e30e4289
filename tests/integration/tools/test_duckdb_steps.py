"""The duckdb tool on real files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from outcomes import value

from noetl.tools import duckdb_secrets
from noetl.tools.base import Call
from noetl.worker.sandbox import Done, Failed

POSTGRES_SECRET = "(TYPE postgres, HOST 'h', PORT '5', PASSWORD 'canary''s')"


async def sql(bench: Any, text: str, **config: Any) -> Any:
    return await bench.run("duckdb", {"query": text, **config})


async def test_steps_of_an_execution_share_a_database(bench: Any) -> None:
    created = value(await sql(bench, "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);"))
    assert created == {"status": "success", "row_count": 2}
    assert value(await sql(bench, "SELECT a FROM t ORDER BY a; UPDATE t SET a = 3;")) == [{"a": 1}, {"a": 2}]


async def test_steps_at_the_same_moment_take_turns(bench: Any) -> None:
    await sql(bench, "CREATE TABLE t (a INT)")
    await asyncio.gather(*(sql(bench, f"INSERT INTO t VALUES ({n})") for n in range(6)))
    assert value(await sql(bench, "SELECT count(*)::INT AS n FROM t")) == [{"n": 6}]


async def test_memory_is_private_and_a_path_is_a_file(bench: Any, tmp_path: Path) -> None:
    await sql(bench, "CREATE TABLE t (a INT)", database=":memory:")
    assert isinstance(await sql(bench, "SELECT * FROM t", database=":memory:"), Failed)
    path = tmp_path / "deep" / "own.duckdb"
    await sql(bench, "CREATE TABLE t AS SELECT 1 AS a", database=str(path))
    assert path.exists()
    assert value(await sql(bench, "FROM t", database=str(path))) == [{"a": 1}]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.json"])
async def test_local_files(bench: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    value(await sql(bench, f"COPY (SELECT 1 AS a, 'x' AS b) TO '{path}'"))
    assert value(await sql(bench, f"SELECT * FROM '{path}'")) == [{"a": 1, "b": "x"}]


async def test_types(bench: Any) -> None:
    text = """SELECT TIMESTAMPTZ '2020-01-02 03:04:05+00' AS z, DATE '2020-01-02' AS d, 1.5::DECIMAL(5,2) AS n, [1, 2] AS l, {'a': 1} AS s,
              'x'::BLOB AS b, NULL AS u, '{"k": 1}'::JSON AS j, INTERVAL 1 MINUTE AS i, 123456789012345678901234567890::HUGEINT AS h"""
    row = value(await sql(bench, text))[0]
    assert row["z"].startswith("2020-01-02T03:04:05")
    assert {key: item for key, item in row.items() if key not in "zh"} == {
        "d": "2020-01-02",
        "n": 1.5,
        "l": [1, 2],
        "s": {"a": 1},
        "b": "eA==",
        "u": None,
        "j": {"k": 1},
        "i": 60.0,
    }


async def test_numbers_that_json_has_not(bench: Any) -> None:
    text = """SELECT 'nan'::DOUBLE AS a, ['inf'::FLOAT, 1] AS b, {'c': 'nan'::DOUBLE} AS c, 12345678901234567890::DECIMAL(38,0) AS d,
              uuid() IS NULL AS e, '1 day'::INTERVAL AS f"""
    outcome = await sql(bench, text)
    assert isinstance(outcome, Done), outcome
    assert json.loads(outcome.result_json) == [
        {"a": None, "b": [None, 1.0], "c": {"c": None}, "d": 12345678901234567890, "e": False, "f": 86400.0}
    ]
    outcome = await sql(bench, "SELECT chr(0) AS v")
    assert (outcome.error["type"], "$[0].v is text with a NUL character" in outcome.error["message"]) == ("result", True)


async def test_a_failing_statement_undoes_the_ones_before_it(bench: Any) -> None:
    outcome = await sql(bench, "CREATE TABLE t (a INT); SELEC 1")
    assert isinstance(outcome, Failed)
    assert "syntax error" in outcome.error["message"]
    assert value(await sql(bench, "CREATE TABLE t (a INT)"))


async def test_memory_is_bounded(make_bench: Any) -> None:
    bench = await make_bench(memory=600 * 1024**2)
    outcome = await sql(bench, "SELECT list(i || 'some text that is long enough') AS l FROM range(100000000) t(i)", database=":memory:")
    assert isinstance(outcome, Failed)
    assert value(await bench.python("result = 1")) == 1


async def test_extensions_are_never_downloaded(bench: Any) -> None:
    outcome = await sql(bench, "SELECT * FROM 'https://127.0.0.1:1/x.parquet'")
    assert isinstance(outcome, Failed)


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("pg", {"pg": POSTGRES_SECRET}),
        ({"one": {"source": "credential", "key": "pg"}}, {"one": POSTGRES_SECRET}),
        ({"type": "gcs", "credential": "hmac"}, {"hmac": "(TYPE gcs, KEY_ID 'k', SECRET 'canary-hmac')"}),
        (
            {"a": {"type": "s3", "credential": "hmac", "region": "r"}, "b": {"credential": "pg"}},
            {
                "a": "(TYPE s3, KEY_ID 'k', SECRET 'canary-hmac', REGION 'r')",
                "b": POSTGRES_SECRET,
            },
        ),
    ],
)
def test_secrets_are_made_of_credentials(auth: Any, expected: dict[str, str]) -> None:
    stored = {"pg": {"db_host": "h", "db_port": 5, "db_password": "canary's"}, "hmac": {"key_id": "k", "secret": "canary-hmac"}}
    call = SimpleNamespace(credential=stored.__getitem__, secrets=set())
    made = duckdb_secrets.statements(auth, cast(Call, call))
    assert {alias: text[text.index("(") :] for alias, (_, text) in made.items()} == expected
    assert all(text.startswith(f'CREATE OR REPLACE TEMPORARY SECRET "{alias}" ') for alias, (_, text) in made.items())
    assert call.secrets


async def test_an_extension_that_is_not_there_is_named(bench: Any) -> None:
    bench.credentials["pg"] = {"db_host": "127.0.0.1", "db_password": "canary"}
    outcome = await sql(bench, "SELECT 1", auth={"pg": {"type": "postgres", "credential": "pg"}})
    if isinstance(outcome, Done):
        pytest.skip("LOUD SKIP: DuckDB's extension postgres is on this machine")
    assert outcome.error["type"] == "extension"
    assert "INSTALL postgres" in outcome.error["message"]
    assert "canary" not in outcome.error["message"]
