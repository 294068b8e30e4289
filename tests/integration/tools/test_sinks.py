"""Sinks in child processes: real PostgreSQL, real HTTP, DuckDB files."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from outcomes import value

from noetl.worker.sandbox import Failed

_numbers = itertools.count(1)
_ENVELOPES = ("response", "result", "this", "data")


async def sink(bench: Any, kind: str, config: dict[str, Any], result: Any = None, **more: Any) -> Any:
    """Run a sink for a step's result; `data` is what the playbook says is to be written."""
    has_data = "data" in more
    written = {"data": more.pop("data", None), "has_data": has_data}
    scope = {"this": result, "execution_id": "e1", **more.pop("scope", {})}
    return await bench.run(kind, config, sink=written, scope=scope, envelopes=_ENVELOPES, **more)


async def rows(database: Any, query: str) -> Any:
    return value(await database.run("postgres", {"auth": "pg", "query": query}))["command_0"]["rows"]


async def table(database: Any, columns: str) -> str:
    name = f"sunk_{next(_numbers)}"
    await database.run("postgres", {"auth": "pg", "query": f"DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns})"})
    return name


async def test_an_event_gives_its_data_whatever_it_says(bench: Any) -> None:
    config: dict[str, Any] = {}
    assert value(await sink(bench, "event", config, {"status": "success", "data": {"a": 1}})) == {"a": 1}
    data = {"status": "error", "message": "{{ result.m }} {{ response.data.m }} {{ this.status }} {{ result.data.m }}"}
    result = value(await sink(bench, "event_log", config, {"status": "success", "data": {"m": "x"}}, data=data))
    assert result == {"status": "error", "message": "x x success x"}


async def test_values_are_bound_and_become_what_the_column_holds(database: Any) -> None:
    name = await table(
        database,
        "i int, big bigint, f float8, n numeric(6,2), b boolean, t text, v varchar(4), d date, ts timestamptz, j jsonb, jj json,"
        ' u uuid, a int[], ta text[], x text, "Odd Name" int, by_number text, flag_text text, iv interval, raw bytea',
    )
    row = {
        "i": "12",
        "big": 2**53 + 1,
        "f": "1.5",
        "n": 1.5,
        "b": "yes",
        "t": "it's; DROP TABLE x --\\ \n\t{{ '{{ 1 }}' }}",
        "v": 42,
        "d": "2020-01-02",
        "ts": "2020-01-02T03:04:05Z",
        "j": {"a": [1, None]},
        "jj": '[{"k": "v"}]',
        "u": "00000000-0000-0000-0000-000000000001",
        "a": [1, None, 3],
        "ta": ['say "hi"', "back\\slash", "a,b"],
        "x": None,
        "Odd Name": 3.0,
        "by_number": 42.5,
        "flag_text": True,
        "iv": "90 seconds",
        "raw": "\\x01ff",
    }
    assert value(await sink(database, "postgres", {"auth": "pg", "table": f"public.{name}"}, row))["row_count"] == 1
    expected = row | {
        "i": 12,
        "f": 1.5,
        "b": True,
        "v": "42",
        "ts": "2020-01-02T03:04:05+00:00",
        "jj": [{"k": "v"}],
        "Odd Name": 3,
        "by_number": "42.5",
        "flag_text": "true",
        "iv": 90.0,
        "raw": "Af8=",
    }
    assert await rows(database, f"SELECT * FROM {name}") == [expected]


async def test_json_columns_keep_text_as_text(database: Any) -> None:
    name = await table(database, "j jsonb")
    data = [{"j": value} for value in ("plain", '{"a": 1}', 5, False, [1], None, "5", '"q"')]
    await sink(database, "postgres", {"auth": "pg", "table": name}, data)
    found = [row["j"] for row in await rows(database, f"SELECT j FROM {name}")]
    assert found == ["plain", {"a": 1}, 5, False, [1], None, "5", '"q"']


async def test_upserts(database: Any) -> None:
    name = await table(database, "id int, part text, v text, PRIMARY KEY (id, part)")
    config = {"auth": "pg", "table": name, "mode": "upsert", "key": ["id", "part"]}
    for v in ("a", "b"):
        data = [{"id": 1, "part": "x", "v": v}, {"id": 2, "part": "x", "v": v}]
        assert value(await sink(database, "postgres", config, data=data))["row_count"] == 2
    await sink(database, "postgres", {**config, "keys": "id, part", "key": None}, data={"id": 1, "part": "x"})
    found = await rows(database, f"SELECT id, v FROM {name} ORDER BY id")
    assert found == [{"id": 1, "v": "b"}, {"id": 2, "v": "b"}]
    assert (await sink(database, "postgres", {**config, "key": None}, data={"id": 1})).error["type"] == "config"


async def test_rows_of_different_columns_and_no_rows(database: Any) -> None:
    name = await table(database, "id int, v text DEFAULT 'default'")
    await sink(database, "postgres", {"auth": "pg", "table": name}, data=[{"id": 1}, {"ID": 2, "v": None}])
    assert await rows(database, f"SELECT * FROM {name} ORDER BY id") == [{"id": 1, "v": "default"}, {"id": 2, "v": None}]
    assert value(await sink(database, "postgres", {"auth": "pg", "table": name}, data=[]))["row_count"] == 0


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        ({"table": "sunk_nowhere"}, {"a": 1}, "sunk_nowhere"),
        ({"table": "t; DROP TABLE t"}, {"a": 1}, "no table"),
        ({"table": None}, {"a": 1}, "give table"),
        ({}, {"nope": 1}, "'nope'"),
        ({}, {'a") VALUES (1); --': 1}, "no column"),
        ({}, {"a": "no number"}, "invalid input syntax"),
        ({}, {"a": "\0"}, "NUL"),
        ({}, [5], "is a number; a row is a mapping"),
        ({}, {}, "empty"),
        ({"mode": "sideways"}, {"a": 1}, "sideways"),
    ],
)
async def test_what_cannot_be_written_is_a_failure(database: Any, change: dict[str, Any], data: Any, message: str) -> None:
    name = await table(database, "a int")
    outcome = await sink(database, "postgres", {"auth": "pg", "table": name, **change}, data)
    assert isinstance(outcome, Failed)
    assert message in outcome.error["message"]
    assert await rows(database, f"SELECT * FROM {name}") == []


async def test_a_statement_with_placeholders(database: Any) -> None:
    name = await table(database, "id int, t text, j jsonb, d date, n numeric")
    statement = f"""
        -- :nothing; here
        INSERT INTO {name} (id, t, j, d, n) VALUES (:id, :t, :j::jsonb, :d::date, :n) /* :nor */;
        INSERT INTO {name} (id, t) SELECT :id::int + 1, ':t' || :t;
        INSERT INTO {name} (id, d) SELECT :id + 2, DATE :d;
        UPDATE {name} SET t = t || :suffix WHERE id = :id;
    """
    data = {"id": 1, "t": "o'neil \\ :id", "j": {"a": [1]}, "d": "2020-01-02", "n": -2, "suffix": None}
    result = value(await sink(database, "postgres", {"auth": "pg", "statement": statement}, data=data | {"suffix": "!"}))
    assert result == {"status": "success", "row_count": 4, "statements": 4}
    assert await rows(database, f"SELECT * FROM {name} ORDER BY id") == [
        {"id": 1, "t": "o'neil \\ :id!", "j": {"a": [1]}, "d": "2020-01-02", "n": -2.0},
        {"id": 2, "t": ":to'neil \\ :id", "j": None, "d": None, "n": None},
        {"id": 3, "t": None, "j": None, "d": "2020-01-02", "n": None},
    ]


async def test_a_statement_with_a_loop_and_one_for_each_row(database: Any) -> None:
    name = await table(database, "n int, t text")
    items = [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]
    statement = f"{{% for item in result.items %}} INSERT INTO {name} VALUES ({{{{ item.n }}}}, '{{{{ item.t }}}}'); {{% endfor %}}"
    assert value(await sink(database, "postgres", {"auth": "pg", "command": statement}, {"data": {"items": items}}))["statements"] == 2
    await sink(database, "postgres", {"auth": "pg", "sql": f"INSERT INTO {name} VALUES (:n + 10, :t)"}, {"data": items})
    assert [row["n"] for row in await rows(database, f"SELECT n FROM {name} ORDER BY n")] == [1, 2, 11, 12]


async def test_a_statement_fails_as_a_whole_and_names_what_is_missing(database: Any) -> None:
    name = await table(database, "n int")
    script = f"INSERT INTO {name} VALUES (:n); INSERT INTO {name} VALUES (:other)"
    outcome = await sink(database, "postgres", {"auth": "pg", "statement": script}, data={"n": 1})
    assert ":other" in outcome.error["message"]
    assert await rows(database, f"SELECT * FROM {name}") == []


async def test_duckdb_writes_into_the_file_of_the_execution(bench: Any) -> None:
    commands = """
        CREATE OR REPLACE TABLE big (kind VARCHAR, n INTEGER, j JSON, made TIMESTAMP);
        INSERT INTO big VALUES (:kind, {{ response.n }}, :doc, NOW()::TIMESTAMP); -- it's :kind
        SELECT * FROM big WHERE kind = ':kind';
    """
    data = {"kind": "it's", "doc": {"a": 1}}
    assert value(await sink(bench, "duckdb", {"commands": commands}, {"n": 7}, data=data))["statements"] == 3
    assert value(await bench.run("duckdb", {"query": "SELECT kind, n, j FROM big"})) == [{"kind": "it's", "n": 7, "j": {"a": 1}}]
    assert (await sink(bench, "duckdb", {"commands": "SELECT :nope"}, {"n": 7})).error["type"] == "config"


@pytest.mark.parametrize(
    ("code", "result", "data", "expected"),
    [
        ("def main(data):\n    return data", {"status": "success", "data": {"a": 1}}, None, {"a": 1}),
        ("def main(data):\n    return data", {"a": 1}, {"b": "{{ result.a }}"}, {"b": 1}),
        ("def main(b, result):\n    return [b, result]", {"a": 1}, {"b": 2}, [2, {"a": 1}]),
        ("def main(anything):\n    return anything", [1, 2], None, [1, 2]),
        ("def main(data, **rest):\n    return [data, rest]", {"a": 1}, None, [{"a": 1}, {"a": 1}]),
        ("result = [b, data]", {"a": 1}, {"b": 2}, [2, {"b": 2}]),
        ("result = data", 5, None, 5),
        ("async def main(response, data):\n    return [response, data]", {"data": 0}, None, [{"data": 0}, 0]),
    ],
)
async def test_python(bench: Any, code: str, result: Any, data: Any, expected: Any) -> None:
    more = {} if data is None else {"data": data}
    assert value(await sink(bench, "python", {"code": code}, result, **more)) == expected


async def test_a_python_sink_that_reports_an_error_fails(bench: Any) -> None:
    assert (await sink(bench, "python", {"code": "result = {'status': 'error', 'error': 'no'}"}, 1)).error["message"] == "no"


async def test_http_posts(bench: Any, http_server: str) -> None:
    config = {"endpoint": f"{http_server}/anything", "headers": {"X-Id": "{{ execution_id }}"}}
    sent = value(await sink(bench, "http", config, {"data": {"a": 1}}, idempotency_key="e1:9"))["data"]
    assert (sent["method"], orjson.loads(sent["body"])) == ("POST", {"a": 1})
    assert (sent["headers"]["idempotency-key"], sent["headers"]["x-id"]) == ("e1:9", "e1")
    sent = value(await sink(bench, "http", {**config, "method": "put"}, {"a": 1}, data={"b": "{{ result.a }}"}))["data"]
    assert (sent["method"], orjson.loads(sent["body"])) == ("PUT", {"b": 1})
    assert (await sink(bench, "http", {"url": f"{http_server}/status/500"}, 1)).error["status"] == 405


async def test_a_sink_after_a_failure_sees_the_error(bench: Any) -> None:
    data = {"why": "it {{ error }}", "code": "{{ error.status }}"}
    written = {"data": data, "has_data": True}
    outcome = await bench.run("event", {}, sink=written, scope={"error": {"message": "broke", "type": "x", "status": 500}})
    assert value(outcome) == {"why": "it broke", "code": 500}


async def test_a_kind_that_is_no_sink(bench: Any) -> None:
    assert (await sink(bench, "shell", {"cmds": "true"}, 1)).error["type"] == "unknown_tool"
