"""Transfers into a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from outcomes import value

from noetl.worker.sandbox import Failed

_numbers = itertools.count(1)
POSTS = [{"id": n, "userId": n % 3, "title": f"t\t{n}\\", "meta": {"tags": ["a", n]}, "flag": n % 2 == 0} for n in range(1, 101)]


@pytest.fixture
async def posts() -> AsyncIterator[str]:
    async def listed(_: web.Request) -> web.Response:
        return web.json_response(POSTS)

    async def enveloped(_: web.Request) -> web.Response:
        return web.json_response({"page": {"items": POSTS[:5]}})

    application = web.Application()
    application.router.add_get("/posts", listed)
    application.router.add_get("/enveloped", enveloped)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def sql(database: Any, query: str) -> Any:
    result = value(await database.run("postgres", {"auth": "pg", "query": query}))
    return next((part["rows"] for part in reversed(result.values()) if "rows" in part), None)


async def table(database: Any, columns: str) -> str:
    name = f"moved_{next(_numbers)}"
    await sql(database, f"DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns})")
    return name


async def transfer(database: Any, source: dict[str, Any], target: dict[str, Any], **more: Any) -> Any:
    auth = {"source": "credential", "key": "pg"}
    return await database.run("transfer", {"source": source, "target": {"type": "postgres", "auth": auth, **target}, **more})


async def test_http_to_a_table_with_a_mapping(database: Any, posts: str) -> None:
    name = await table(database, "id serial, post_id int, user_id int, title text, tag text, meta jsonb, gone int, flag bool")
    mapping = {
        "user_id": "userId",
        "post_id": "id",
        "title": "title",
        "tag": "meta.tags.0",
        "meta": "meta",
        "gone": "no.where",
        "flag": "flag",
    }
    target = {"table": f"public.{name}", "mapping": mapping}
    result = value(await transfer(database, {"type": "http", "url": f"{posts}/posts", "method": "GET"}, target, chunk_size=30))
    assert (result["rows_transferred"], result["records_fetched"], result["chunks_processed"]) == (100, 100, 4)
    expected = {"post_id": 7, "user_id": 1, "title": "t\t7\\", "tag": "a", "meta": {"tags": ["a", 7]}, "gone": None, "flag": False}
    assert await sql(database, f"SELECT {', '.join(expected)} FROM {name} WHERE post_id = 7") == [expected]


async def test_modes(database: Any, posts: str) -> None:
    name = await table(database, "id int PRIMARY KEY, title text")
    source = {"kind": "http", "endpoint": f"{posts}/enveloped", "data_path": "page.items"}
    target: dict[str, Any] = {"table": name, "mapping": {"id": "id", "title": "title"}}
    assert value(await transfer(database, source, target))["rows_transferred"] == 5
    assert isinstance(await transfer(database, source, {**target, "mode": "append"}), Failed)
    await sql(database, f"UPDATE {name} SET title = 'old'; INSERT INTO {name} VALUES (99, 'kept')")
    value(await transfer(database, source, {**target, "mode": "upsert"}))
    counted = f"SELECT count(*) AS n, count(*) FILTER (WHERE title = 'old') AS old FROM {name}"
    assert await sql(database, counted) == [{"n": 6, "old": 0}]
    value(await transfer(database, source, {**target, "mode": "replace"}))
    assert await sql(database, counted) == [{"n": 5, "old": 0}]


async def test_a_failing_chunk_undoes_the_ones_before_it(database: Any, posts: str) -> None:
    name = await table(database, "id int CHECK (id < 90)")
    await sql(database, f"INSERT INTO {name} VALUES (0)")
    source, target = {"type": "http", "url": f"{posts}/posts"}, {"table": name, "mapping": {"id": "id"}, "mode": "replace"}
    outcome = await transfer(database, source, target, chunk_size=10)
    assert "check constraint" in outcome.error["message"]
    assert await sql(database, f"SELECT id FROM {name}") == [{"id": 0}]


@pytest.mark.parametrize("query", ["INSERT INTO {} VALUES (:id, :title)", "INSERT INTO {} SELECT $1, %s"])
async def test_a_query_as_target(database: Any, posts: str, query: str) -> None:
    name = await table(database, "id text, title text")
    mapping = {"id": "id", "title": "title"} if ":id" in query else {"title": "title"}
    source = {"type": "http", "url": f"{posts}/posts"}
    value(await transfer(database, source, {"query": query.format(name), "mapping": mapping}, chunk_size=40))
    assert await sql(database, f"SELECT count(*) AS n, max(length(title)) AS t FROM {name}") == [{"n": 100, "t": 6}]


async def test_postgres_to_postgres_keeps_every_type(database: Any) -> None:
    columns = "i bigint, t text, n numeric, d timestamptz, j jsonb, a text[], raw bytea, r int4range, iv interval, b bool, f float8"
    source, target = await table(database, columns), await table(database, columns)
    row = "g, E'a\\tb\\n\\\\' || g, 1.10, '2020-01-02+00', '{\"k\": [1]}', '{a,\"b,c\",NULL}', '\\x0100', '[1,5)', '1 mon 2 s', true, 0.1"
    await sql(database, f"INSERT INTO {source} SELECT {row} FROM generate_series(1, 2500) g; INSERT INTO {source} DEFAULT VALUES")
    read = {"type": "postgres", "auth": "pg", "query": f"SELECT * FROM {source};"}
    result = value(await transfer(database, read, {"table": target}, chunk_size=1000))
    assert (result["rows_transferred"], result["chunks_processed"]) == (2501, 3)
    differing = f"SELECT count(*) AS n FROM (TABLE {source} EXCEPT ALL TABLE {target}) x"
    assert await sql(database, differing) == [{"n": 0}]


async def test_postgres_with_a_path_into_json(database: Any) -> None:
    target = await table(database, "id int, k int, doc jsonb, gone text")
    query = 'SELECT 1 AS id, \'{"a": {"b": [7]}}\'::json AS doc'
    mapping = {"id": "id", "k": "doc.a.b.0", "doc": "doc.a", "gone": "none"}
    value(await transfer(database, {"type": "postgres", "auth": "pg", "query": query}, {"table": target, "mapping": mapping}))
    assert await sql(database, f"SELECT * FROM {target}") == [{"id": 1, "k": 7, "doc": {"b": [7]}, "gone": None}]


async def test_duckdb_to_postgres(database: Any) -> None:
    await database.run(
        "duckdb", {"query": "CREATE OR REPLACE TABLE big AS SELECT i, i * 1.5 AS x, DATE '2020-01-02' AS d FROM range(3000) t(i)"}
    )
    target = await table(database, "i int, x numeric, d date, l int[], j jsonb")
    query = "SELECT i, x, d, [i, NULL] AS l, '{\"a\": 1}'::JSON AS j FROM big"
    result = value(await transfer(database, {"tool": "duckdb", "query": query}, {"table": target}, chunk_size=1000))
    assert result["chunks_processed"] == 3
    expected = {"i": 2, "x": 3.0, "d": "2020-01-02", "l": [2, None], "j": {"a": 1}}
    assert await sql(database, f"SELECT * FROM {target} WHERE i = 2") == [expected]


async def test_nothing_to_move(database: Any) -> None:
    target = await table(database, "i int")
    read = {"type": "postgres", "auth": "pg", "query": "SELECT 1 AS i WHERE false"}
    assert value(await transfer(database, read, {"table": target}))["rows_transferred"] == 0


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ({"type": "moon"}, {"table": "t"}, "moon"),
        ({"type": "postgres", "query": "SELECT 1 AS i"}, {"table": "moved_nowhere"}, "moved_nowhere"),
        ({"type": "postgres", "query": "SELECT 1; SELECT 2"}, {"table": "t"}, "2 queries"),
        ({"type": "duckdb", "query": "SELECT nope"}, {"table": "t"}, "nope"),
        ({"type": "http", "url": "http://127.0.0.1:1/"}, {"table": "t"}, "127.0.0.1:1"),
    ],
)
async def test_what_cannot_be_moved(database: Any, source: dict[str, Any], target: dict[str, Any], message: str) -> None:
    outcome = await transfer(database, source, target)
    assert isinstance(outcome, Failed)
    assert message in outcome.error["message"]


async def test_records_without_a_mapping_may_lack_fields(database: Any) -> None:
    async def mixed(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"a": 1}, {"a": 2, "b": "x"}, {}]})

    application = web.Application()
    application.router.add_get("/", mixed)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    name = await table(database, "a int, b text")
    source = {"type": "http", "url": f"http://127.0.0.1:{runner.addresses[0][1]}/"}
    value(await transfer(database, source, {"table": name}, chunk_size=1))
    await runner.cleanup()
    assert await sql(database, f"SELECT * FROM {name} ORDER BY a") == [{"a": 1, "b": None}, {"a": 2, "b": "x"}, {"a": None, "b": None}]


async def test_a_million_rows_in_chunks(make_bench: Any, playbooks_database: dict[str, Any]) -> None:
    """A process that held the rows would need far more than it may have here."""
    bench = await make_bench(memory=320 * 1024**2)
    bench.credentials["pg"] = playbooks_database
    name = await table(bench, "id BIGINT, name TEXT")
    query = "SELECT n AS id, md5(n::text) || md5(n::text) AS name FROM generate_series(1, 1000000) AS n"
    source = {"kind": "postgres", "auth": "pg", "query": query}
    outcome = await bench.run("transfer", {"source": source, "target": {"kind": "postgres", "auth": "pg", "table": name}}, timeout=100)
    result = value(outcome)
    assert (result["rows_transferred"], result["chunks_processed"]) == (1_000_000, 200)
    assert await sql(bench, f"SELECT count(DISTINCT id) AS n FROM {name}; DROP TABLE {name}") == [{"n": 1_000_000}]
