"""Two servers on one database: what one has done the other knows, and one that is stopped stops nobody else."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path

import asyncpg
import pytest
from breakable import MakeLive, Pretender, as_often_as_leased, recorded_once
from live import Live, Running, processes_of
from stories import SQUARES, python

from noetl.ops.client import Client
from noetl.settings import Postgres

STOP = 12.0
"""Seconds for which a server is stopped."""


def test_e8_two_servers_run_nothing_twice(crew: Live, effects: Postgres) -> None:
    second = crew.server()
    crew.worker("a")
    crew.worker("b", server=second)
    clients = [crew.api, Client(second.url, crew.token)]
    executions = [crew.execute(SQUARES, {"items": 10, "pause": 0.01}, api=clients[number % 2]) for number in range(10)]
    for execution in executions:
        assert crew.finish(execution)["result"] == sum(n * n for n in range(10))
        recorded_once(crew, execution, 10)
        as_often_as_leased(crew, effects, execution, 10)
    second.terminate()


def test_e8_servers_do_not_trust_their_memory_of_what_another_has_moved_on(idle: Live) -> None:
    """Claims and reports of one execution at two servers in turn, each of which remembers an older state of it."""
    second = idle.server()
    here, there = Pretender(idle), Pretender(idle, second)
    steps = [
        ("start", "result = 1"),
        ("a", "def main(start): return start"),
        ("b", "def main(a): return a"),
        ("end", "def main(b): return b"),
    ]
    execution = idle.execute(python("turns", *steps))
    for number, ((step, _), before) in enumerate(zip(steps, [None, "start", "a", "b"], strict=True)):
        claimer, reporter = (here, there) if number % 2 else (there, here)
        command = claimer.claim(execution)
        assert command["step"] == step
        assert before is None or command["scope"][before] == number
        assert claimer.api.get(f"/api/worker/context/{execution}/{before}") == number if before else True
        reporter.name, kept = claimer.name, reporter.name
        assert reporter.report(command, str(number + 1).encode(), free=0)[1]["answers"] == ["recorded"]
        reporter.name = kept
    assert idle.finish(execution)["result"] == 4
    second.terminate()


def test_e13_a_server_that_is_stopped_stops_nobody_else(crew: Live, effects: Postgres) -> None:
    """It is stopped for longer than anything waits for: leases (2 s), open transactions (5 s), locks (10 s)."""
    live = crew.a_server
    frozen = crew.server()
    crew.worker("a", server=live)
    beside = Client(frozen.url, crew.token, timeout=5)
    executions: list[str] = []
    stop = threading.Event()

    def post() -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                executions.append(crew.execute(SQUARES, {"items": 5, "pause": 0.01}, api=beside))

    poster = threading.Thread(target=post)
    poster.start()
    crew.until(lambda: executions, "an execution has begun there")
    time.sleep(0.5)
    frozen.send(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        known = list(executions)
        assert known
        # All of it ends while the other server is stopped: it is woken after that.
        for execution in [*known, *(crew.execute(SQUARES, {"items": 5, "pause": 0.01}) for _ in range(3))]:
            assert crew.finish(execution)["status"] == "COMPLETED"
            executions.append(execution)
        time.sleep(max(0.0, STOP - (time.monotonic() - begun)))
        executions.append(crew.execute(SQUARES, {"items": 5, "pause": 0.01}))
    finally:
        stop.set()
        frozen.send(signal.SIGCONT)
        poster.join(60)
    assert not poster.is_alive()
    for execution in dict.fromkeys(executions):
        assert crew.finish(execution)["result"] == sum(n * n for n in range(5))
        recorded_once(crew, execution, 5)
        as_often_as_leased(crew, effects, execution, 5)
    frozen.terminate()


def test_a_server_ends_with_an_open_stream_and_waits_for_no_reader(crew: Live) -> None:
    """A7 and invariant 12: it ends the stream itself, long before what is followed ends, and does not run into the bound of its stop."""
    second = crew.server()
    execution = crew.execute(python("a7", ("start", "import time; time.sleep(600)")))
    client = Client(second.url, crew.token)
    heard: list[str] = []

    def follow() -> None:
        with contextlib.suppress(Exception):
            heard.extend(message.event for message in client.stream(f"/api/executions/{execution}/stream"))

    follower = threading.Thread(target=follow)
    follower.start()
    crew.until(lambda: heard, "the stream has begun")
    assert second.terminate() == 0
    assert "graceful shutdown exceeded" not in second.said()
    follower.join(60)
    assert not follower.is_alive()
    assert crew.status(execution)["status"] == "RUNNING"
    crew.api.post(f"/api/executions/{execution}/cancel")


def test_e12_no_update_leaves_a_terminal_status(live: Live) -> None:
    execution = live.run(python("e12", ("start", "result = 1")))["execution_id"]
    for status, end in (("RUNNING", "NULL"), ("FAILED", "end_time")):
        with pytest.raises(asyncpg.CheckViolationError, match="final"):
            live.sql(f"UPDATE noetl.execution SET status = $2, end_time = {end} WHERE execution_id = $1", int(execution), status)
    with pytest.raises(asyncpg.CheckViolationError):
        live.sql("UPDATE noetl.execution SET status = 'FAILED', end_time = NULL WHERE execution_id = $1", int(execution))
    assert live.status(execution)["status"] == "COMPLETED"


def test_invariant_12_nothing_is_left_of_a_platform_that_was_told_to_stop(make_live: MakeLive, tmp_path: Path) -> None:
    """Invariant 12."""
    with make_live() as one:
        server: Running = one.server()
        worker = one.worker()
        assert one.run(python("last", ("start", "result = 1")))["status"] == "COMPLETED"
        assert worker.terminate() == 0
        assert server.terminate() == 0
        assert processes_of(one.home) == []
