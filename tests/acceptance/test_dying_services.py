"""The database, NATS and servers are away, stopped and killed in the middle of work."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import nats
import pytest
from breakable import LEASE, as_often_as_leased, began, effect_counts, recorded_once
from live import Live
from stories import SQUARES, append, python

from noetl import home as files
from noetl.bus import subjects
from noetl.ops import stack
from noetl.settings import Postgres, Settings


def test_e6_a_database_that_is_away_for_five_seconds(whole: Live, own_home: Path, effects: Postgres) -> None:
    execution = whole.execute(SQUARES, {"items": 40, "pause": 0.4})
    whole.until(lambda: effect_counts(effects, execution), "the loop has begun")
    embedded = files.read_embedded(own_home)
    from noetl.ops import postgres

    postgres.stop(own_home, timeout=10)
    time.sleep(5)
    stack.start(Settings(home=own_home))
    assert files.read_embedded(own_home) == embedded
    ended = whole.finish(execution)
    assert (ended["status"], ended["result"]) == ("COMPLETED", sum(n * n for n in range(40)))
    recorded_once(whole, execution, 40)
    assert "Traceback" not in whole.a_server.said()


def test_e7_the_stream_is_deleted(whole: Live, effects: Postgres) -> None:

    async def delete() -> None:
        connection = await nats.connect(whole.nats_url.reveal())
        await connection.jetstream().delete_stream(subjects.STREAM)
        await connection.close()

    async def exists() -> bool:
        connection = await nats.connect(whole.nats_url.reveal())
        try:
            return subjects.STREAM in [info.config.name for info in await connection.jetstream().streams_info()]
        finally:
            await connection.close()

    execution = whole.execute(SQUARES, {"items": 40, "pause": 0.1})
    whole.until(lambda: effect_counts(effects, execution), "the loop has begun")
    asyncio.run(delete())
    assert whole.finish(execution)["result"] == sum(n * n for n in range(40))
    assert whole.run(SQUARES, {"items": 8, "pause": 0})["status"] == "COMPLETED"
    recorded_once(whole, execution, 40)
    whole.until(lambda: asyncio.run(exists()), "there is a stream again")


def test_a_server_that_is_away_for_longer_than_a_lease_takes_nothing_away(whole: Live, tmp_path: Path) -> None:
    """Invariant 4: a worker that is alive keeps what it runs, and its result counts."""
    mark = tmp_path / "mark"
    execution = whole.execute(python("away", ("start", append(str(mark), f"time.sleep({LEASE * 2.5})\nreturn 'once'"))))
    whole.until(began(mark), "the step has begun")
    server = whole.a_server
    server.kill()
    time.sleep(LEASE * 1.5)
    whole.server(port=int(server.url.rsplit(":", 1)[1]))
    assert whole.finish(execution)["result"] == "once"
    assert mark.read_text() == "x"
    assert [step["lost"] for step in whole.steps(execution)] == [0]


@pytest.mark.parametrize("victim", ["worker", "server", "postgres", "nats"])
def test_invariant_4_anything_is_killed_in_the_middle_of_a_loop(whole: Live, own_home: Path, effects: Postgres, victim: str) -> None:
    """Invariants 4, 5 and 7, E7: `kill -9` of each process, which then is started again."""
    items = 40
    execution = whole.execute(SQUARES, {"items": items, "pause": 0.4})
    whole.until(lambda: len(effect_counts(effects, execution)) > 8, "the loop is in its middle")
    if victim == "worker":
        worker = next(running for running in whole.processes if running.alive and not running.url)
        worker.kill()
        whole.worker(f"w{len(whole.processes)}")
    elif victim == "server":
        server = whole.a_server
        server.kill()
        time.sleep(1)
        whole.server(port=int(server.url.rsplit(":", 1)[1]))
    else:
        from noetl.ops import nats as embedded_nats
        from noetl.ops import postgres as embedded_postgres

        record = (embedded_nats if victim == "nats" else embedded_postgres).find(own_home)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        time.sleep(1)
        stack.start(Settings(home=own_home))
    ended = whole.finish(execution)
    assert (ended["status"], ended["result"]) == ("COMPLETED", sum(n * n for n in range(items))), ended["error"]
    (loop,) = [step["loop"] for step in whole.steps(execution) if step["step"] == "each"]
    assert loop == {"total": items, "done": items, "failed": 0, "cancelled": 0, "running": 0, "waiting": 0}
    recorded_once(whole, execution, items)
    as_often_as_leased(whole, effects, execution, items)
    assert whole.run(SQUARES, {"items": 4, "pause": 0})["status"] == "COMPLETED"
