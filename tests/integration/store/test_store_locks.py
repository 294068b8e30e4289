"""Who locks what in which order: nobody waits in a circle, and workers' words on their leases wait for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from noetl.settings import Postgres
from noetl.store import postgres as store

LEASE = timedelta(seconds=15)
LOCK = "SELECT 1 FROM command WHERE execution_id = $1 AND command_id = $2 FOR UPDATE"


@pytest.fixture
async def pair(postgres: Postgres) -> AsyncIterator[tuple[asyncpg.Connection, asyncpg.Connection]]:
    """Two connections to a database in which worker `w` holds commands 1 and 2 of executions 1 and 2."""
    one, other = [await asyncpg.connect(**store.connection(postgres), server_settings=store.SETTINGS) for _ in range(2)]
    try:
        await one.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, revision, state, payload, workload, start_time)
            SELECT n, 1, 'p', 1, 'RUNNING', 1, '{}', '{}', '{}', now() FROM generate_series(1, 2) n;
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, fence, worker_id, lease_until)
            SELECT e, c, c, 's', 'python', 'default', 'running', 1, 'w', now() FROM generate_series(1, 2) e, generate_series(1, 2) c;
            INSERT INTO worker (worker_id, name, pool, host, pid, version, slots, status)
            VALUES ('w', 'w', 'default', 'h', 1, '', 1, 'ready');
            """
        )
        yield one, other
    finally:
        await one.close()
        await other.close()


async def said(held: asyncpg.Connection, name: str, *arguments: Any) -> list[asyncpg.Record]:
    return list(await asyncio.wait_for(held.fetch(store.queries()[name], *arguments), 5))


async def test_a_heartbeat_does_not_wait_for_a_row_that_somebody_has_locked(pair: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    """Waiting for command 2 while holding command 1 was a deadlock with whoever wanted 1 next; a stopped server held it up for seconds."""
    one, other = pair
    held = ([1, 1], [1, 2], [1, 1])
    async with one.transaction():
        await one.fetch(LOCK, 1, 2)
        await one.execute("UPDATE worker SET slots = 2")
        assert [row["worker_id"] for row in await said(other, "heartbeat_worker", "w", 2, "ready")] == ["w"]
        extended = await said(other, "heartbeat_extend", "w", *held, LEASE)
        assert sorted((row["command_id"], row["extended"]) for row in extended) == [(1, True), (2, False)], "what is locked is not lost"
        longer = await other.fetch("SELECT command_id FROM command WHERE lease_until > now() + interval '10 s'")
        assert [row["command_id"] for row in longer] == [1]
        await said(other, "heartbeat_begun", "w", *held)
        await said(other, "heartbeat_unlisted", "w", [], [], [])
        await said(other, "heartbeat_not_lost", [1, 1], [1, 2], [0, 0])
        assert [row["command_id"] for row in await said(other, "hand_back", "w", [2, 1], [1, 2], [1, 1])] == [1]
        assert [(row["execution_id"], row["command_id"]) for row in await said(other, "requeue_worker", "w", 2)] == [(1, 1), (2, 2)]
        await one.fetch(LOCK, 1, 1)


@pytest.mark.parametrize("way", ["revoked", "withdrawn", "stopped"])
async def test_a_commit_locks_commands_in_the_order_of_their_keys(pair: tuple[asyncpg.Connection, asyncpg.Connection], way: str) -> None:
    """One that ends a command of execution 2 and takes those of execution 1 away, while another goes from 1 to 2."""
    one, other = pair
    if way == "withdrawn":
        await one.execute("UPDATE command SET status = 'waiting' WHERE execution_id = 1")
    now = await one.fetchval("SELECT now()")
    moved = [(1, 1, "RUNNING", "{}", None, None, now), (2, 1, "RUNNING", "{}", None, None, now)]
    ended = [(2, 2, 1, "done", "1", None, 1, now), (2, 1, 1, "done", "1", None, 1, now)]
    taken = {"revoked": ([1], [], []), "withdrawn": ([], [1], []), "stopped": ([], [], [(1, 1)])}[way]
    arguments = ([], moved, ended, [], [], [], [], [], [], [], *taken, LEASE)
    async with one.transaction():
        await one.fetch(LOCK, 1, 1)
        commit = asyncio.ensure_future(other.fetch(store.queries()["apply"], *arguments))
        await until_it_waits(one)
        await one.fetch(LOCK, 2, 1)
        await one.fetch(LOCK, 2, 2)
    withdrawn = await asyncio.wait_for(commit, 5)
    assert sorted(row["command_id"] for row in withdrawn) == ([1, 2] if way == "withdrawn" else [])
    rows = await one.fetch("SELECT execution_id, command_id, status FROM command ORDER BY 1, 2")
    left = "running" if way == "stopped" else "cancelled"
    assert [row["status"] for row in rows] == ["cancelled", left, "done", "done"]


async def until_it_waits(held: asyncpg.Connection) -> None:
    """Return when somebody waits for a lock."""
    for _ in range(500):
        if await held.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for a lock")
