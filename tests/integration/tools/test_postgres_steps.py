"""The postgres tool against a real PostgreSQL."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from outcomes import value

from noetl.worker.sandbox import Done, Failed


async def sql(database: Any, text: Any, **more: Any) -> Any:
    return await database.run("postgres", {"auth": "pg", "query": text}, **more)


async def test_each_statement_has_its_result(database: Any) -> None:
    text = """
        -- a comment; with a semicolon
        CREATE TEMP TABLE t (k INTEGER, t TEXT, j JSONB, d NUMERIC(6,2));
        INSERT INTO t VALUES (1, 'semi;colon', '{"a": 1}', 1.50), (2, 'it''s', '{"a": {{ n }}}', 2.50),
            (3, $$dollar; 'quoted'$$, NULL, NULL);
        SELECT k, t, j, d FROM t WHERE k >= {{ n }} ORDER BY k;
        UPDATE t SET t = upper(t) WHERE k = 3 RETURNING t;
    """
    result = value(await sql(database, text, scope={"n": 2}))
    assert result["command_0"] == {"status": "success", "row_count": 0, "message": "CREATE TABLE"}
    assert result["command_1"]["row_count"] == 3
    assert result["command_2"] == {
        "status": "success",
        "rows": [{"k": 2, "t": "it's", "j": {"a": 2}, "d": 2.5}, {"k": 3, "t": "dollar; 'quoted'", "j": None, "d": None}],
        "row_count": 2,
        "columns": ["k", "t", "j", "d"],
    }
    assert result["command_3"]["rows"] == [{"t": "DOLLAR; 'QUOTED'"}]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1.25::numeric", 1.25),
        ("9223372036854775807", 9223372036854775807),
        ("date '2020-01-02'", "2020-01-02"),
        ("timestamp '2020-01-02 03:04:05'", "2020-01-02T03:04:05"),
        ("timestamptz '2020-01-02 03:04:05+00'", "2020-01-02T03:04:05+00:00"),
        ("time '03:04'", "03:04:00"),
        ("interval '90 seconds'", 90.0),
        ("'{\"a\": [1]}'::json", {"a": [1]}),
        ("array[1, 2]", [1, 2]),
        ("'\\x01ff'::bytea", "Af8="),
        ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
        ("int4range(1, 5)", "[1,5)"),
        ("'10.0.0.1'::inet", "10.0.0.1"),
        ("b'101'", "101"),
        ("point(1, 2)", [1.0, 2.0]),
        ("row(1, 'a')", [1, "a"]),
        ("'NaN'::float8", None),
        ("'-Infinity'::float4", None),
        ("array['Infinity'::float8, 1]", [None, 1.0]),
        ("'NaN'::numeric", None),
        ("12345678901234567890::numeric", 12345678901234567890),
        ("1e400::numeric", 10**400),
        ("0.1234567890123456789::numeric", 0.12345678901234568),
        ("interval '1 month 1 day'", 2678400.0),
        ("'infinity'::timestamptz", "9999-12-31T23:59:59.999999"),
        ("daterange('2020-01-01', NULL)", "[2020-01-01,)"),
        ("current_setting('noetl.idempotency_key')", "e1:key"),
        ("NULL::int", None),
        ("''", ""),
    ],
)
async def test_types(database: Any, expression: str, expected: Any) -> None:
    outcome = await sql(database, f"SELECT {expression} AS v", idempotency_key="e1:key")
    assert _rows(outcome) == [{"v": expected}]


def _rows(outcome: Any) -> Any:
    """Read it with every digit of its numbers."""
    assert isinstance(outcome, Done), outcome
    return json.loads(outcome.result_json)["command_0"]["rows"]


async def test_a_number_that_no_result_can_hold_is_refused(database: Any) -> None:
    outcome = await sql(database, "SELECT 10::numeric ^ 2000 AS v")
    assert (outcome.error["type"], outcome.error["message"]) == (
        "value",
        "a number of 2001 digits is too large for a result; select it as text",
    )


async def test_a_failing_statement_undoes_the_ones_before_it(database: Any) -> None:
    await sql(database, "CREATE TABLE IF NOT EXISTS undone (a INT); TRUNCATE undone")
    outcome = await sql(database, "INSERT INTO undone VALUES (1); SELEC 1")
    assert isinstance(outcome, Failed)
    assert "syntax error" in outcome.error["message"]
    assert "command_1" in outcome.error["message"]
    assert value(await sql(database, "SELECT count(*) AS n FROM undone"))["command_0"]["rows"] == [{"n": 0}]


async def test_call_and_other_statements_that_stand_outside_transactions(database: Any) -> None:
    await sql(database, "CREATE TABLE IF NOT EXISTS called (a INT)")
    procedure = "CREATE OR REPLACE PROCEDURE fill() LANGUAGE plpgsql AS $p$ BEGIN INSERT INTO called VALUES (1); COMMIT; END; $p$"
    await sql(database, procedure)
    assert value(await sql(database, "CALL fill(); SELECT a FROM called"))["command_1"]["rows"] == [{"a": 1}]
    await sql(database, "CREATE OR REPLACE PROCEDURE more(INOUT a int) LANGUAGE plpgsql AS $p$ BEGIN COMMIT; a := a + 1; END; $p$")
    assert value(await sql(database, "CALL more(5)"))["command_0"]["rows"] == [{"a": 6}]
    assert "rows" not in value(await sql(database, "CALL fill()"))["command_0"]
    assert value(await sql(database, ["VACUUM called;", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON called (a)"]))


async def test_a_step_leaves_its_connection_as_it_was(database: Any) -> None:
    pid = value(await sql(database, "SET search_path = 'elsewhere'; SELECT pg_backend_pid() AS p"))["command_1"]["rows"]
    result = value(await sql(database, "SELECT pg_backend_pid() AS p; SHOW search_path"))
    assert result["command_0"]["rows"] == pid
    assert "public" in result["command_1"]["rows"][0]["search_path"]


async def test_a_transaction_left_open_is_not_kept(database: Any) -> None:
    await sql(database, "BEGIN; CREATE TABLE never (a INT)")
    assert value(await sql(database, "SELECT to_regclass('never') AS r"))["command_0"]["rows"] == [{"r": None}]


async def test_a_connection_that_the_server_closed_is_replaced(database: Any) -> None:
    pid = value(await sql(database, "SELECT pg_backend_pid() AS p"))["command_0"]["rows"][0]["p"]
    outcome = await sql(database, f"SELECT pg_terminate_backend({pid})")
    assert isinstance(outcome, Failed)
    assert value(await sql(database, "SELECT 1 AS v"))["command_0"]["rows"] == [{"v": 1}]


async def test_a_statement_that_runs_too_long_is_cancelled(database: Any) -> None:
    started = time.monotonic()
    outcome = await database.run("postgres", {"auth": "pg", "sql": "SELECT pg_sleep(60)", "timeout": "300ms"}, step="slow")
    assert outcome.error["type"] == "timeout"
    assert time.monotonic() - started < 5
    running = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'"
    assert value(await sql(database, running))["command_0"]["rows"] == [{"n": 0}]


@pytest.mark.parametrize(
    "named",
    [
        {"auth": "pg"},
        {"auth": "{{ workload.which }}"},
        {"auth": {"source": "credential", "key": "pg"}},
        {"auth": {"type": "postgres", "credential": "{{ workload.which }}"}},
        {"auth": {"first": {"source": "credential", "key": "pg"}, "second": {"source": "credential", "key": "nobody"}}},
        {"auth": {"db": {"type": "postgres", "credential": "pg"}}},
        {"credential": "pg"},
        {"credential": {"credential": "pg"}},
        {"auth": "pg", "db_name": "{{ workload.name }}"},
        {},
    ],
)
async def test_ways_to_name_the_database(database: Any, playbooks_database: dict[str, Any], named: dict[str, Any]) -> None:
    scope = {"workload": {"which": "pg", "name": playbooks_database["db_name"]}}
    outcome = await database.run("postgres", {**named, "query": "SELECT current_user::text AS u"}, scope=scope)
    assert isinstance(outcome, Done), outcome
    assert orjson.loads(outcome.result_json)["command_0"]["rows"] == [{"u": playbooks_database["db_user"]}]


async def test_fields_of_its_own(database: Any, playbooks_database: dict[str, Any]) -> None:
    assert value(await database.run("postgres", {**playbooks_database, "sql": "SELECT 1 AS v"}))


async def test_a_database_that_is_not_there_is_named_without_its_password(database: Any) -> None:
    for config in (
        {"db_host": "127.0.0.1", "db_port": 1, "db_user": "me", "db_password": "hush-hush", "db_name": "d"},
        {"connection": "postgresql://me:hush-hush@127.0.0.1:1/d"},
    ):
        outcome = await database.run("postgres", {**config, "sql": "SELECT 1"})
        assert outcome.error["type"] == "connection"
        assert "127.0.0.1:1" in outcome.error["message"]
        assert "hush" not in outcome.error["message"]


async def test_a_password_in_a_result_is_masked(database: Any, playbooks_database: dict[str, Any]) -> None:
    outcome = await sql(database, f"SELECT 'the {playbooks_database['db_password']}' AS v, 1 AS n")
    assert value(outcome)["command_0"]["rows"] == [{"v": "the ***", "n": 1}]


async def test_nul_is_refused(database: Any) -> None:
    outcome = await sql(database, "SELECT '{{ text }}'", scope={"text": "a\0b"})
    assert "NUL" in outcome.error["message"]


async def test_nothing_to_run(database: Any) -> None:
    assert (await sql(database, "-- only this")).error["type"] == "config"


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("bearer", "the credential bearer has no host, connection or other field of a database"),
        ({"type": "postgres", "credential": "bearer"}, "the credential of `auth` has no host"),
        ("{{ workload.nothing }}", "`auth` renders to nothing"),
    ],
    ids=["a token", "in a mapping", "nothing"],
)
async def test_an_auth_that_names_no_database_is_not_the_platforms_own(database: Any, auth: Any, said: str) -> None:
    database.credentials |= {"bearer": {"token": "t"}}
    for more in ({}, {"sink": {"data": {"a": 1}, "has_data": True}}):
        config = {"auth": auth, **({"table": "never"} if more else {"query": "SELECT 1"})}
        outcome = await database.run("postgres", config, **more)
        assert isinstance(outcome, Failed)
        assert outcome.error["message"].startswith(said)
        assert outcome.error["type"] == "config"
