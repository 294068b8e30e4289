"""The connection that commits, and what the tables refuse."""

from __future__ import annotations

import asyncpg
import pytest

from noetl.errors import Unavailable
from noetl.settings import Postgres
from noetl.store import postgres as store

BEGUN = """
    INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
    INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
    VALUES (1, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now());
    INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status) VALUES (1, 1, 1, 's', 'python', 'default', 'waiting');
"""


async def test_a_database_that_never_answers_is_given_up_and_asked_anew(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.3)
    monkeypatch.setitem(store.queries(), "never", "SELECT pg_sleep(30)")
    monkeypatch.setitem(store.queries(), "at_once", "SELECT 7")
    kept = store.Database(postgres).kept()
    try:
        with pytest.raises(Unavailable):
            await kept.rows("never")
        assert [row[0] for row in await kept.rows("at_once")] == [7]
    finally:
        kept.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE execution SET status = 'DONE'",
        "UPDATE execution SET status = 'COMPLETED'",
        "UPDATE execution SET end_time = now()",
        "UPDATE command SET status = 'over'",
        "UPDATE execution SET status = 'FAILED', end_time = now(); UPDATE execution SET status = 'COMPLETED'",
        "UPDATE execution SET status = 'FAILED', end_time = now(); UPDATE execution SET status = 'RUNNING', end_time = NULL",
    ],
)
async def test_a_status_that_cannot_be_is_refused(postgres: Postgres, statement: str) -> None:
    held = await asyncpg.connect(**store.connection(postgres), server_settings=store.SETTINGS)
    try:
        await held.execute(BEGUN)
        with pytest.raises(asyncpg.CheckViolationError):
            await held.execute(statement)
    finally:
        await held.close()
