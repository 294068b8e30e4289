"""What the chaos suite proves is proven: whatever is wrong in what was recorded, it says so, and of what is right it says nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from breakable import store_outside
from live import Live, ask

from chaos.load import Load
from chaos.platform import Platform
from chaos.proof import FORBIDDEN, prove
from chaos.stories import STORIES, Story
from noetl.settings import Postgres

MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
ONE = "ctid = (SELECT ctid FROM noetl.command WHERE status = 'done' AND kind = 'python' LIMIT 1)"
RUNNING = """INSERT INTO noetl.execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time{columns})
             SELECT 1, catalog_id, path, version, 'RUNNING', state, payload, workload, start_time{values} FROM noetl.execution LIMIT 1"""
CHILD = RUNNING.format(columns=", parent_execution_id", values=", execution_id")
TWICE = """INSERT INTO noetl.history (execution_id, seq, last_seq, events)
           SELECT h.execution_id, m.last + 1, m.last + 1, json_build_array(e.value)
           FROM noetl.history h, json_array_elements(h.events) e(value),
           LATERAL (SELECT max(last_seq) AS last FROM noetl.history x WHERE x.execution_id = h.execution_id) m
           WHERE e.value ->> 0 = 'call.done' LIMIT 1"""
WRONG = {
    "an execution is not over": RUNNING.format(columns="", values=""),
    "a result was recorded more than once": TWICE,
    "a command is done and its event is missing, or the other way round": (
        "UPDATE noetl.history SET events = replace(events::text, '\"call.done\"', '\"call.gone\"')::json"
    ),
    "an item of a loop is done more than once": "UPDATE noetl.command SET item = 0 WHERE item = 1",
    "a command waits or runs in an execution that is over": f"UPDATE noetl.command SET status = 'running' WHERE {ONE}",
    "the counts of a loop do not add up": "UPDATE noetl.loop SET closed = false, done = done - 1",
    "a loop counts other items than there are": "UPDATE noetl.command SET status = 'failed' WHERE item = 1",
    "a command is quarantined that has not lost its workers": "UPDATE noetl.command SET error = json_build_object('type', 'quarantined')",
    "events are missing": "DELETE FROM noetl.history WHERE seq = 1",
    "more items of a loop were under way at once than its limit": "UPDATE noetl.command SET created_at = '2000-01-01'",
    "a child runs on without its parent": CHILD,
    "an accepted execution is missing": "DELETE FROM noetl.execution WHERE path = 'chaos/slow'",
    "an execution is FAILED and should not be": "UPDATE noetl.execution SET path = 'chaos/slow' WHERE path = 'chaos/fails'",
    "a result is wrong": "UPDATE noetl.command SET result = '0' WHERE step = 'end'",
    "a step ran more often than it was leased": "UPDATE noetl.command SET fence = 0",
    "a recorded step ran again": "UPDATE noetl.command SET finished_at = '2000-01-01' WHERE finished_at IS NOT NULL",
    "a sink wrote too often or never": "UPDATE noetl.command SET item = item + 100 WHERE kind = 'sink:postgres'",
    "a recorded step never ran": "UPDATE noetl.command SET step = 'other' WHERE item IS NULL",
}


@dataclass
class Ran:
    """What the stories have left: a database, the ledger of their steps, and what was begun."""

    database: Postgres
    outside: Postgres
    ledger: Path
    accepted: dict[str, Story]

    def problems(self, database: Postgres) -> set[str]:
        """Return what is said to be wrong in a database."""
        platform = cast(Platform, SimpleNamespace(database=database, outside=self.outside))
        load = cast(Load, SimpleNamespace(accepted=self.accepted, cancelled=set[str]()))
        return set(asyncio.run(prove(platform, load, self.ledger)).problems)


@pytest.fixture(scope="module")
def ran(make_live: MakeLive, outside: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    ledger = tmp_path_factory.mktemp("ledger") / "ledger"
    ask(outside, "CREATE TABLE public.written (eid text NOT NULL, n integer NOT NULL)")
    with make_live() as one:
        one.server()
        one.worker()
        store_outside(one, outside)
        stories = [story for story in STORIES if story.path not in ("chaos/many", "chaos/pages")]
        for story in stories:
            one.register(story.text)
        payload = {"ledger": str(ledger)}
        begun = {str(one.api.post("/api/execute", {"path": story.path, "payload": payload})["execution_id"]): story for story in stories}
        for execution in begun:
            one.finish(execution)
        for running in one.processes:
            running.terminate()
        yield Ran(one.postgres, outside, ledger, begun)
    ask(outside, "DROP TABLE public.written")


def test_everything_that_must_not_be_is_tried() -> None:
    assert set(FORBIDDEN) <= set(WRONG)


def test_what_is_right_is_right(ran: Ran) -> None:
    assert ran.problems(ran.database) == set()


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(ran: Ran, superuser_sql: Callable[..., str], what: str) -> None:
    copy = replace(ran.database, database="chaos_proof")
    superuser_sql(f"CREATE DATABASE {copy.database} OWNER noetl TEMPLATE {ran.database.database}")
    try:
        ask(copy, WRONG[what])
        assert what in ran.problems(copy)
    finally:
        superuser_sql(f"DROP DATABASE {copy.database} WITH (FORCE)")
