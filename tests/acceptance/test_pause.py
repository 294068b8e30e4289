"""Pausing and resuming on real processes: nothing new starts, nothing is lost, nothing runs twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live
from stories import HEAD, append, python

from noetl.errors import Conflict

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
LOOP = (
    HEAD.format(name="paused_loop")
    + """\
  - step: start
    tool: {kind: python, code: "result = 1"}
    next: each
  - step: each
    loop: {in: "{{ range(workload['items']) | list }}", iterator: n, mode: parallel}
    tool:
      kind: python
      args: {n: "{{ n }}", file: "{{ workload.note }}"}
      code: |
        def main(n, file):
            import time
            open(file, "a").write(f"{n}\\n")
            time.sleep(0.3)
            return n
    next: end
  - step: end
    tool: {kind: python, args: {rows: "{{ each.results }}"}, code: "def main(rows): return sum(rows)"}
"""
)
PARENT = (
    HEAD.format(name="paused_parent")
    + """\
  - step: start
    tool: {kind: playbook, path: tests/paused_child, timeout: 10}
    next: after
  - step: after
    tool: {kind: python, code: "def main(start): return start", args: {start: "{{ start }}"}}
"""
)


@pytest.fixture(scope="module")
def own(make_live: MakeLive) -> Iterator[Live]:
    """A platform whose servers are killed."""
    with make_live({"NOETL_LEASE_SECONDS": "2"}) as one:
        one.server()
        one.worker(slots=4)
        yield one


def paused(live: Live, execution: str) -> str:
    """Pause an execution and return the status that is answered."""
    return str(live.api.post(f"/api/executions/{execution}/pause", {"reason": "a test"})["status"])


def resumed(live: Live, execution: str) -> str:
    """Resume an execution and return the status that is answered."""
    return str(live.api.post(f"/api/executions/{execution}/resume", {})["status"])


def running(live: Live, execution: str) -> int:
    """Return how many of an execution's commands are leased."""
    return len(live.sql("SELECT 1 FROM noetl.command WHERE execution_id = $1 AND status = 'running'", int(execution)))


def test_a_loop_is_paused_its_server_killed_and_resumed_by_another(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "items"
    execution = own.execute(LOOP, {"items": 90, "note": str(mark)})
    own.until(lambda: mark.exists() and len(mark.read_text().split()) >= 6, "some items have run")
    assert paused(own, execution) == "PAUSED"
    assert paused(own, execution) == "PAUSED"
    own.until(lambda: running(own, execution) == 0, "what ran has finished")
    begun = mark.read_text()
    counted = own.steps(execution)[-1]["loop"]
    assert 0 < counted["done"] == len(begun.split()) < 90
    assert own.status(execution)["status"] == "PAUSED"
    assert execution in [row["execution_id"] for row in own.api.get("/api/executions", status="PAUSED")["executions"]]

    own.a_server.kill()
    port = int(own.processes[0].url.rsplit(":", 1)[1])
    own.server(port=port)
    time.sleep(3)
    assert mark.read_text() == begun
    own.server()
    assert resumed(own, execution) == "RUNNING"
    assert resumed(own, execution) == "RUNNING"
    assert own.finish(execution)["result"] == sum(range(90))
    assert sorted(map(int, mark.read_text().split())) == list(range(90))
    kinds = [event["event_type"] for event in own.events(execution)]
    assert (kinds.count("playbook.paused"), kinds.count("playbook.resumed")) == (1, 1)


def test_a_sub_playbook_is_paused_with_its_parent_for_longer_than_it_may_take(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    own.register(python("paused_child", ("start", append(str(mark), "time.sleep(0.3)\nreturn 1")), ("more", append(str(mark), "return 2"))))
    execution = own.execute(PARENT)
    own.until(mark.exists, "the child's first step runs")
    assert paused(own, execution) == "PAUSED"
    (child,) = [
        str(row["execution_id"])
        for row in own.sql("SELECT execution_id FROM noetl.execution WHERE parent_execution_id = $1", int(execution))
    ]
    own.until(lambda: own.status(child)["status"] == "PAUSED", "the child is paused")
    with pytest.raises(Conflict, match=f"its parent {execution} is") as refused:
        resumed(own, child)
    assert refused.value.hint == f"type: noetl execution resume {execution}"
    time.sleep(11)
    assert mark.read_text() == "x"
    assert resumed(own, execution) == "RUNNING"
    assert own.finish(execution)["result"] == 2
    assert mark.read_text() == "xx"


def test_cancelling_a_paused_execution_cancels_its_paused_child(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    own.register(python("paused_child", ("start", append(str(mark), "time.sleep(30)"))))
    execution = own.execute(PARENT)
    own.until(mark.exists, "the child's step runs")
    paused(own, execution)
    own.api.post(f"/api/executions/{execution}/cancel", {})
    assert own.finish(execution)["status"] == "CANCELLED"
    (child,) = [
        str(row["execution_id"])
        for row in own.sql("SELECT execution_id FROM noetl.execution WHERE parent_execution_id = $1", int(execution))
    ]
    assert own.finish(child)["status"] == "CANCELLED"


def test_what_is_over_is_neither_paused_nor_resumed(own: Live) -> None:
    execution = own.execute(python("over", ("start", "result = 1")))
    own.finish(execution)
    with pytest.raises(Conflict, match="is COMPLETED: there is nothing to pause") as refused:
        paused(own, execution)
    assert refused.value.hint == f"see: noetl execution why {execution}"
    with pytest.raises(Conflict, match="is COMPLETED: there is nothing to resume") as refused:
        resumed(own, execution)
    assert refused.value.hint == f"run it again: noetl execution retry {execution}"


def test_what_a_pause_holds_back_waits_for_no_worker(own: Live, tmp_path: Path) -> None:
    def waiting() -> int:
        return int(next(pool["waiting"] for pool in own.api.get("/api/pools")["pools"] if pool["pool"] == "default"))

    file = tmp_path / "items"
    execution = own.execute(LOOP, {"items": 60, "note": str(file)})
    own.until(lambda: waiting() > 20, "items wait")
    paused(own, execution)
    assert waiting() == 0
    resumed(own, execution)
    assert waiting() > 0
    own.api.post(f"/api/executions/{execution}/cancel", {})
    own.finish(execution)
