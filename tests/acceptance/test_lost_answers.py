"""The database has committed, and its answer does not arrive."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from breakable import MakeLive, Pretender
from live import Live, Running
from stories import HEAD

from noetl.engine.ending import FAILURE_BOUND
from noetl.ops import ports
from noetl.settings import Postgres

READY = b"Z\x00\x00\x00\x05I"
"""What PostgreSQL says after a statement that is committed."""
FAILURE = {"message": "no", "type": "Told"}


class Between:
    """Stands between a server and PostgreSQL. Armed, it keeps the answer to the first statement that has some bytes in it, and hangs up."""

    def __init__(self, there: Postgres) -> None:
        self.there = there
        self.port = ports.free()
        self.armed: bytes | None = None
        self.kept = 0
        self.then: Callable[[], None] = lambda: None
        self._up, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Between:
        self._thread.start()
        assert self._up.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port):
            self._up.set()
            await self._over.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self.there.host, self.there.port)
        caught = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(1 << 20):
                if self.armed is not None and self.armed in data:
                    self.armed = None
                    caught.set()
                far_writer.write(data)
                await far_writer.drain()

        async def down() -> None:
            answer = b""
            while data := await far_reader.read(1 << 20):
                if not caught.is_set():
                    writer.write(data)
                    await writer.drain()
                    continue
                answer += data
                if answer.endswith(READY):
                    self.kept += 1
                    self.then()
                    return

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.transport.abort()
        far_writer.transport.abort()


@pytest.fixture
def parted(make_live: MakeLive) -> Iterator[tuple[Live, Between, Running]]:
    """A server that reaches PostgreSQL through something that can keep an answer."""
    with make_live() as one, Between(one.postgres) as between:
        way = replace(one.postgres, host="127.0.0.1", port=between.port)
        server = one.server({"POSTGRES_HOST": way.host, "POSTGRES_PORT": str(way.port)})
        yield one, between, server


FAILS = (
    HEAD.format(name="withdraws")
    + """\
  - {step: start, tool: {kind: python, code: "result = 1"}, next: [bad, good, other]}
  - {step: bad, tool: {kind: python, code: "result = 1"}}
  - {step: good, tool: {kind: python, code: "result = 1"}}
  - {step: other, loop: {in: [1, 2, 3], iterator: n, mode: parallel}, tool: {kind: python, code: "result = 1"}}
"""
)


def failing(live: Live, worker: Pretender) -> tuple[str, dict[str, Any]]:
    """Begin an execution of which one step runs and others wait."""
    execution = live.execute(FAILS)
    assert worker.report(worker.claim(execution), b"1", free=0)[1]["answers"] == ["recorded"]
    command = worker.claim(execution)
    assert command["step"] == "bad"
    return execution, command


def ended_at_once(live: Live, execution: str) -> None:
    """Check that an execution has FAILED because nothing of it was left, and was not given up when a failure's time was over."""
    ended = live.finish(execution)
    assert (ended["status"], ended["error"]["type"], ended["error"]["step"]) == ("FAILED", "Told", "bad")
    assert ended["duration"] < FAILURE_BOUND
    rows = live.sql("SELECT status, count(*) AS n FROM noetl.command WHERE execution_id = $1 GROUP BY 1 ORDER BY 1", int(execution))
    assert [(row["status"], row["n"]) for row in rows] == [("cancelled", 4), ("done", 1), ("failed", 1)]
    (loop,) = [step["loop"] for step in live.steps(execution) if step["loop"]]
    assert loop == {"total": 3, "done": 0, "failed": 0, "cancelled": 3, "running": 0, "waiting": 0}


def test_a_failure_whose_commit_was_not_answered_ends_the_execution_at_once(parted: tuple[Live, Between, Running]) -> None:
    """What that commit withdrew is counted again: nobody waits for steps that nobody runs."""
    live, between, _ = parted
    worker = Pretender(live)
    execution, command = failing(live, worker)
    between.armed = b'"owed":'
    status, answer = worker.report(command, None, free=0, status="failed", error=FAILURE)
    assert (status, answer["answers"], between.kept) == (200, ["duplicate"], 1)
    ended_at_once(live, execution)


def test_another_server_counts_what_was_withdrawn_when_the_one_that_knew_has_died(parted: tuple[Live, Between, Running]) -> None:
    live, between, server = parted
    worker = Pretender(live)
    live.server()
    execution, command = failing(live, worker)
    between.then = server.kill
    between.armed = b'"owed":'
    with pytest.raises((OSError, http.client.HTTPException)):
        worker.report(command, None, free=0, status="failed", error=FAILURE)
    live.until(lambda: not server.alive, "its server is dead")
    assert between.kept == 1
    ended_at_once(live, execution)
