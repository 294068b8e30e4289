"""Workers that wait at the server with nothing to do get the next command in the commit that issues it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from live import Live

Json = Any
TWO_STEPS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: two, path: tests/two}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
    next: [{step: second}]
  - step: second
    tool: {kind: python, code: "result = 2"}
"""

FAILS_AS_IT_BEGINS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: broken, path: tests/broken}
workflow:
  - step: start
    next: [{step: first}, {step: broken}]
  - step: first
    tool: {kind: python, code: "result = 1"}
  - step: broken
    loop: {in: "{{ 1 / 0 }}", iterator: x}
    tool: {kind: python, code: "result = 2"}
"""


class Waiting:
    """A worker's request that waits at the server."""

    def __init__(self, live: Live, worker_id: str, seconds: float = 20, foretell: bool = True) -> None:
        host, _, port = live.a_server.url.removeprefix("http://").partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=30)
        body = json.dumps({"worker_id": worker_id, "pool": "default", "park": seconds, "foretell": foretell})
        self._connection.request("POST", "/api/worker/claim", body, {"Authorization": f"Bearer {live.token.reveal()}"})

    def answer(self) -> dict[str, Json]:
        """Return the answer, with what came ahead of it as `foretold`."""
        response = self._connection.getresponse()
        found: dict[str, Json] = {**json.loads(response.read()), "foretold": json.loads(response.getheader("noetl-foretold") or "[]")}
        self._connection.close()
        return found

    def hang_up(self) -> None:
        """Go without waiting for the answer."""
        self._connection.close()


@pytest.fixture
def alone(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    """A server without workers."""
    with make_live() as live:
        live.server()
        yield live


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def begin(live: Live) -> str:
    return live.execute(TWO_STEPS)


def rows(live: Live) -> list[tuple[Json, ...]]:
    return [tuple(row.values()) for row in live.sql("SELECT worker_id, status, fence FROM noetl.command ORDER BY execution_id, command_id")]


def waits(live: Live, worker_id: str, threads: ThreadPoolExecutor, *, foretell: bool = True) -> tuple[Waiting, Future[dict[str, Json]]]:
    waiting = Waiting(live, worker_id, foretell=foretell)
    time.sleep(0.3)
    return waiting, threads.submit(waiting.answer)


def test_what_begins_is_leased_in_its_own_commit(alone: Live, threads: ThreadPoolExecutor) -> None:
    _, answer = waits(alone, "idle", threads)
    execution_id = begin(alone)
    found = answer.result(10)
    assert rows(alone) == [("idle", "running", 1)]
    # Told ahead of the commit, named after it.
    assert found["commands"] == [[execution_id, 1, 1]]
    assert [(command["step"], command["fence"]) for command in found["foretold"]] == [("start", 1)]
    assert 0 <= found["waited"] < 20


@pytest.mark.parametrize(("given", "foretell"), [("short", False), ("long" * 2000, True), ("déjà vu", True), ("a\x7fb", True)])
def test_what_is_not_told_ahead_is_told_in_full(alone: Live, threads: ThreadPoolExecutor, given: str, foretell: bool) -> None:
    """What a worker does not ask for, one of an earlier version say; what does not fit into a header, or is not allowed in one."""
    _, answer = waits(alone, "idle", threads, foretell=foretell)
    content = TWO_STEPS.replace('code: "result = 1"', 'code: "result = 1", args: {given: "{{ workload.given }}"}')
    execution_id = alone.execute(content, {"given": given})
    found = answer.result(10)
    assert found["foretold"] == []
    assert [(one["execution_id"], one["step"], one["fence"]) for one in found["commands"]] == [(execution_id, "start", 1)]


def test_each_worker_gets_one_and_the_rest_wait_for_a_claim(alone: Live, threads: ThreadPoolExecutor) -> None:
    answers = [waits(alone, f"w{number}", threads)[1] for number in range(2)]
    for _ in range(3):
        begin(alone)
    assert [len(answer.result(10)["commands"]) for answer in answers] == [1, 1]
    assert rows(alone) == [("w0", "running", 1), ("w1", "running", 1), (None, "waiting", 0)]


def test_a_worker_that_is_gone_gets_nothing(alone: Live) -> None:
    waiting = Waiting(alone, "gone")
    time.sleep(0.3)
    waiting.hang_up()
    time.sleep(0.3)
    begin(alone)
    assert rows(alone) == [(None, "waiting", 0)]


def test_a_worker_that_leaves_is_answered_at_once(alone: Live, threads: ThreadPoolExecutor) -> None:
    _, answer = waits(alone, "leaving", threads)
    alone.api.post("/api/worker/claim", {"worker_id": "leaving", "pool": "default", "park": 0})
    assert answer.result(10)["commands"] == []
    begin(alone)
    assert rows(alone) == [(None, "waiting", 0)]


def test_a_server_that_stops_lets_them_go(alone: Live, threads: ThreadPoolExecutor) -> None:
    _, answer = waits(alone, "idle", threads)
    server = alone.a_server
    assert server.terminate() == 0
    assert "graceful shutdown exceeded" not in server.said()
    assert answer.result(10)["commands"] == []


def test_an_execution_that_fails_as_it_begins_takes_nobody(alone: Live, threads: ThreadPoolExecutor) -> None:
    _, answer = waits(alone, "idle", threads)
    execution_id = alone.execute(FAILS_AS_IT_BEGINS)
    alone.until(lambda: alone.status(execution_id)["status"] == "FAILED", "the execution fails")
    begin(alone)
    assert len(answer.result(10)["commands"]) == 1
