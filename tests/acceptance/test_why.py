"""What an operator is told about an execution that does not move, and what to type next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live
from stories import HEAD, append, python

from noetl.ops import reasons

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
PARENT = HEAD.format(name="why_parent") + "  - {step: start, tool: {kind: playbook, path: tests/why_child}}\n"
DELAYED = """\
def main():
    raise ValueError("the far end is away")
"""
RETRY = {"case": [{"when": "{{ event.name == 'call.error' }}", "then": [{"retry": {"max_attempts": 2, "initial_delay": 60}}]}]}


@pytest.fixture
def own(make_live: MakeLive) -> Iterator[Live]:
    """A server without workers: tests start them."""
    with make_live({"NOETL_LEASE_SECONDS": "2"}) as one:
        one.server()
        yield one


def why(live: Live, execution: str) -> dict[str, Json]:
    """Ask; whatever is answered fits a screen of 80 columns."""
    found: dict[str, Json] = live.api.get(f"/api/executions/{execution}/why")
    shown = reasons.text(found).splitlines()
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 24
    return found


def first(live: Live, execution: str, state: str) -> dict[str, Json]:
    """Wait until the likeliest cause is in a state, and return it with the answer's verdict, commands to type and exit code."""

    def there() -> dict[str, Json] | None:
        found = why(live, execution)
        return found if found["reasons"][0]["state"] == state else None

    found = live.until(there, f"the first reason is {state}")
    return found["reasons"][0] | {"verdict": found["verdict"], "typed": found["type"], "exit": reasons.exit_code(found)}


def test_from_no_worker_to_the_end(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    own.register(python("why_child", ("start", append(str(mark), "time.sleep(600)"))))
    execution = own.execute(PARENT)
    waits = first(own, execution, "child")
    assert (waits["verdict"], waits["exit"], waits["step"]) == ("stuck", 3, "start")
    inner = waits["why"]["reasons"][0]
    assert inner["state"] == "no_worker"
    assert inner["text"] == "no worker of pool default is alive"
    assert waits["typed"] == ["noetl worker start", f"noetl execution cancel {execution}"]

    worker = own.worker("w", slots=1)
    own.until(mark.exists, "the child's step runs")
    runs = first(own, waits["child"], "running")
    assert (runs["verdict"], runs["exit"]) == ("moving", 0)
    assert runs["worker"].startswith("w:") and runs["host"] and runs["lease_until"] and runs["last_heartbeat"]

    behind = own.execute(python("behind", ("start", "result = 1")))
    busy = first(own, behind, "busy")
    assert (busy["verdict"], busy["used"], busy["slots"]) == ("moving", 1, 1)
    assert f"1 of 1 slots, by 1 × start of tests/why_child ({waits['child']})" in busy["text"]

    worker.kill()
    assert first(own, waits["child"], "lease_lost")["verdict"] == "moving"
    assert first(own, waits["child"], "no_worker")["verdict"] == "stuck"

    own.api.post(f"/api/executions/{execution}/pause", {"reason": "night"})
    paused = first(own, execution, "paused")
    assert (paused["verdict"], paused["text"]) == ("stuck", "it is paused: night")
    assert paused["typed"][0] == f"noetl execution resume {execution}"
    child = first(own, waits["child"], "paused")
    assert child["text"] == f"it is paused because its parent {execution} is"
    own.api.post(f"/api/executions/{execution}/cancel", {})
    own.finish(execution)
    ended = first(own, execution, "over")
    assert (ended["verdict"], ended["exit"]) == ("over", 1)


def test_delays_failures_and_loops(own: Live) -> None:
    own.worker()
    execution = own.execute(python("delayed", ("start", DELAYED, RETRY)))
    delayed = first(own, execution, "delayed")
    assert delayed["verdict"] == "moving" and delayed["until"]
    assert "attempt 2 waits for its time after: " in delayed["text"] and "the far end is away" in delayed["text"]

    failed = own.execute(python("fails", ("start", "result = 1"), ("bad", DELAYED)))
    assert own.finish(failed)["status"] == "FAILED"
    reason = first(own, failed, "failed")
    assert (reason["step"], reason["attempts"], reason["exit"]) == ("bad", 1, 1)
    assert "the far end is away" in reason["text"]
    assert reason["typed"][-1] == f"noetl execution retry {failed}"

    done = own.execute(python("fine", ("start", "result = 1")))
    own.finish(done)
    assert first(own, done, "over")["exit"] == 0

    looping = own.execute(
        HEAD.format(name="looping")
        + """\
  - step: start
    loop: {in: "{{ range(30) | list }}", iterator: n, mode: parallel}
    tool: {kind: python, code: "def main(): import time; time.sleep(1)"}
"""
    )
    own.until(lambda: why(own, looping)["reasons"][-1]["state"] == "loop", "the loop is told of")
    loop = why(own, looping)["reasons"][-1]
    assert loop["counts"]["total"] == 30
    assert "of 30 done" in loop["text"]
