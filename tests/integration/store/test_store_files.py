"""The files of executions in the database: whose turn it is, which version counts, what the sweep takes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from noetl.settings import Postgres
from noetl.store import postgres as store

LEASE = timedelta(seconds=15)


@pytest.fixture
async def held(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with two executions."""
    one = await asyncpg.connect(**store.connection(postgres), server_settings=store.SETTINGS)
    try:
        await one.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            SELECT n, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now() FROM generate_series(1, 2) n;
            """
        )
        yield one
    finally:
        await one.close()


async def commands(held: asyncpg.Connection, *rows: tuple[int, int, str, int, bool]) -> None:
    await held.executemany(
        """INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, fence, serial)
           VALUES ($1, $2, 1, 's', 'duckdb', 'default', $3, $4, $5)""",
        rows,
    )


async def claimed(held: asyncpg.Connection) -> list[tuple[int, int]]:
    rows = await held.fetch(store.queries()["claim"], "default", "w", LEASE, 10)
    return sorted((row["execution_id"], row["command_id"]) for row in rows)


async def test_of_an_execution_one_command_after_the_other_has_its_turn(held: asyncpg.Connection) -> None:
    serial = [(eid, number, "waiting", 0, True) for eid in (1, 2) for number in (1, 2, 3)]
    await commands(held, *serial, (1, 4, "waiting", 0, False))
    assert await claimed(held) == [(1, 1), (1, 4), (2, 1)]
    assert await claimed(held) == []
    assert await held.fetch(store.queries()["sweep_unclaimed"], timedelta(seconds=-1)) == [], "nobody is rung for out of turn"
    await held.execute("UPDATE command SET status = 'failed' WHERE execution_id = 2 AND command_id = 1")
    await held.execute("UPDATE command SET status = 'cancelled' WHERE execution_id = 1 AND command_id < 3")
    assert await claimed(held) == [(1, 3), (2, 2)]


async def test_a_version_counts_when_it_is_whole_and_its_command_done(held: asyncpg.Connection) -> None:
    await commands(held, (1, 1, "done", 1, True), (1, 2, "running", 3, True), (1, 3, "waiting", 0, True))
    write, whole = store.queries()["file_write"], store.queries()["file_whole"]
    assert (await held.execute(write, 1, 2, 2, 0, 5, b"late!")) == "INSERT 0 0", "under an old fence"
    assert (await held.execute(write, 1, 2, 3, 0, 5, b"piece")) == "INSERT 0 1"
    assert (await held.execute(whole, 1, 2, 3, 6)) == "UPDATE 0", "a piece is missing"
    assert (await held.execute(whole, 1, 2, 3, 5)) == "UPDATE 1"
    assert await held.fetchrow(store.queries()["file_current"], 1) is None
    await held.execute("UPDATE command SET status = 'done' WHERE command_id = 2")
    assert tuple(await held.fetchrow(store.queries()["file_current"], 1)) == (2, 3, 5)
    await held.execute("INSERT INTO file (execution_id, command_id, fence, whole) VALUES (1, 0, 0, true), (1, 1, 1, true)")
    await held.execute("UPDATE command SET status = 'running', fence = 1 WHERE command_id = 3")
    await held.execute(write, 1, 3, 1, 0, 4, b"next")
    await held.execute(whole, 1, 3, 1, 4)
    assert [row["command_id"] for row in await held.fetch("SELECT command_id FROM file ORDER BY 1")] == [2, 3]


async def test_the_sweep_takes_away_what_does_not_count(held: asyncpg.Connection) -> None:
    await commands(held, (1, 1, "done", 1, True), (1, 2, "done", 2, True), (1, 3, "running", 4, True), (2, 1, "failed", 1, True))
    await held.execute(
        """
        INSERT INTO file (execution_id, command_id, fence, whole, created_at)
        VALUES (1, 0, 0, true, now() - interval '1 h'), (1, 1, 1, true, now() - interval '1 h'), (1, 2, 1, true, now() - interval '1 h'),
               (1, 2, 2, true, now() - interval '1 h'), (1, 3, 3, false, now() - interval '1 h'), (1, 3, 4, false, now() - interval '1 h'),
               (2, 1, 1, true, now() - interval '1 h');
        UPDATE file SET settled = true WHERE command_id = 0;
        INSERT INTO file_piece SELECT execution_id, command_id, fence, 0, 1, 'x' FROM file;
        """
    )
    for _ in range(2):
        await held.execute(store.queries()["sweep_files"], LEASE * 4)
        await held.execute(store.queries()["sweep_files_settled"], LEASE * 4)
    rows = await held.fetch(
        "SELECT execution_id, command_id, fence, f.settled FROM file f JOIN file_piece p USING (execution_id, command_id, fence)"
    )
    assert sorted(tuple(row) for row in rows) == [(1, 2, 2, True), (1, 3, 4, False)]
    await held.execute("UPDATE execution SET status = 'FAILED', end_time = now() - interval '8 d'")
    await held.execute("UPDATE file SET created_at = now() - interval '9 d'")
    await held.execute(store.queries()["sweep_files_old"], timedelta(days=7))
    assert await held.fetchval("SELECT count(*) FROM file_piece") == 0
