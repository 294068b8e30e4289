"""Calls repeated, pages collected, sinks written, sub-playbooks waited for: on real processes, some of which die."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, ask

from noetl.settings import Postgres

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]

CHILD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: child, path: tests/child}
workload: {n: 1, pause: 0}
workflow:
  - step: start
    tool:
      kind: python
      args: {n: "{{ workload.n }}", pause: "{{ workload.pause }}"}
      code: |
        def main(n, pause):
            import time
            time.sleep(pause)
            if n < 0:
                raise ValueError("negative")
            return {"square": n * n}
"""
PARENT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: tests/parent}
workload: {numbers: [1, 2, 3, 4, 5], pause: 0}
workflow:
  - step: start
    loop: {in: "{{ workload.numbers }}", iterator: n, mode: parallel}
    tool: {kind: playbook, path: tests/child, args: {n: "{{ n }}", pause: "{{ workload.pause }}"}}
    next: end
  - step: end
    tool:
      kind: python
      args: {rows: "{{ start.results }}"}
      code: |
        def main(rows):
            return sum(row["square"] for row in rows)
"""
SINKS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: sinks, path: tests/sinks}
workload: {file: "", many: 12, pause: 0}
workflow:
  - step: start
    loop: {in: "{{ range(workload.many) | list }}", iterator: n, mode: parallel}
    tool:
      kind: python
      args: {n: "{{ n }}", file: "{{ workload.file }}"}
      code: |
        def main(n, file):
            with open(file, "a") as calls:
                calls.write(f"{n}\\n")
            return {"n": n, "label": f"it's {n}", "tags": [n]}
    case:
      - when: "{{ event.name == 'call.done' }}"
        then:
          sink:
            tool: {kind: postgres, auth: outside}
            statement: "SELECT pg_sleep({{ workload.pause }}); INSERT INTO sunk VALUES (:n, :label)"
    next: end
  - step: end
    tool: {kind: python, code: "result = 'done'"}
"""
FLAKY = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: flaky, path: tests/flaky}
workload: {folder: "", fails: 2}
workflow:
  - step: start
    loop: {in: [0, 1, 2], iterator: n, mode: parallel}
    tool:
      kind: python
      args: {n: "{{ n }}", folder: "{{ workload.folder }}", fails: "{{ workload.fails }}"}
      code: |
        def main(n, folder, fails):
            from pathlib import Path
            calls = Path(folder) / str(n)
            count = int(calls.read_text()) if calls.exists() else 0
            calls.write_text(str(count + 1))
            if count < fails:
                raise ConnectionError(f"call {count}")
            return count
    case:
      - when: "{{ event.name == 'call.error' and error.type == 'ConnectionError' }}"
        then: {retry: {max_attempts: 3, initial_delay: 0.2}}
    next: end
  - step: end
    tool: {kind: python, args: {rows: "{{ start.results }}"}, code: "def main(rows): return rows"}
"""


@pytest.fixture(scope="module")
def platform(make_live: MakeLive, outside: Postgres) -> Iterator[Live]:
    """A server with short leases and the database that sinks write to."""
    ask(outside, "CREATE TABLE IF NOT EXISTS sunk (n integer NOT NULL, label text)")
    with make_live({"NOETL_LEASE_SECONDS": "2"}) as one:
        one.server()
        data: dict[str, Json] = {"db_host": outside.host, "db_port": outside.port, "db_user": outside.user, "db_name": outside.database}
        data["db_password"] = outside.password.reveal()
        one.api.post("/api/credentials", {"name": "outside", "type": "postgres", "data": data})
        one.worker("language-1")
        one.register(CHILD)
        yield one


def test_a_loop_of_sub_playbooks_waits_for_all_of_them(platform: Live) -> None:
    finished = platform.run(PARENT)
    assert finished["status"] == "COMPLETED", finished["error"]
    assert platform.result(finished["execution_id"], "end") == 55
    children = platform.sql("SELECT status, depth FROM execution WHERE parent_execution_id = $1", int(finished["execution_id"]))
    assert [child["status"] for child in children] == ["COMPLETED"] * 5
    assert {child["depth"] for child in children} == {1}


def test_a_failing_child_fails_its_parent_with_its_error(platform: Live) -> None:
    finished = platform.run(PARENT, {"numbers": [-1]})
    assert finished["status"] == "FAILED"
    assert "negative" in finished["error"]["message"]


def test_cancelling_the_parent_cancels_its_children(platform: Live) -> None:
    execution_id = platform.execute(PARENT, {"numbers": [1, 2], "pause": 30})
    running = "SELECT count(*) AS n FROM execution WHERE parent_execution_id = $1 AND status = $2"
    platform.until(lambda: platform.sql(running, int(execution_id), "RUNNING")[0]["n"] == 2, "both children run")
    platform.api.post(f"/api/executions/{execution_id}/cancel", {})
    platform.until(lambda: platform.sql(running, int(execution_id), "CANCELLED")[0]["n"] == 2, "both children are cancelled")
    assert platform.sql("SELECT count(*) AS n FROM command WHERE status IN ('waiting', 'running')")[0]["n"] == 0


def test_a_playbook_that_calls_itself_ends(platform: Live) -> None:
    finished = platform.run(
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: selfish, path: tests/selfish}\n"
        "workflow:\n  - step: start\n    tool: {kind: playbook, path: tests/selfish}\n"
    )
    assert finished["status"] == "FAILED"
    assert "deep" in finished["error"]["message"]


def test_each_item_of_a_loop_is_called_again_after_its_errors(platform: Live, tmp_path: Path) -> None:
    finished = platform.run(FLAKY, {"folder": str(tmp_path)})
    assert finished["status"] == "COMPLETED", finished["error"]
    assert platform.result(finished["execution_id"], "end") == [2, 2, 2]
    assert len(platform.events(finished["execution_id"], "call.error")) == 6


def test_a_short_delay_waits_for_no_sweep(platform: Live) -> None:
    """The sweep rings for what nobody has claimed for 3 s: where that was what ends a delay of 0.1 s, no attempt was claimed earlier."""
    step = {"step": "start", "tool": {"kind": "python", "code": "raise ValueError('no')"}}
    again = {"max_attempts": 11, "initial_delay": 0.1, "backoff_multiplier": 1.0}
    case = [{"when": "{{ event.name == 'call.error' }}", "then": {"retry": again}}]
    head = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "short_delays"}}
    finished = platform.run(json.dumps({**head, "workflow": [{**step, "case": case}]}))
    assert finished["status"] == "FAILED"
    query = """SELECT attempt, claimed_at >= available_at AS waited, claimed_at < available_at + interval '2.5 s' AS unswept
               FROM command WHERE execution_id = $1 ORDER BY command_id"""
    rows = platform.sql(query, int(finished["execution_id"]))
    assert [(row["attempt"], row["waited"]) for row in rows] == [(number, True) for number in range(1, 12)]
    assert sum(row["unswept"] for row in rows) >= 8


def test_errors_that_go_on_are_unhandled_in_the_end(platform: Live, tmp_path: Path) -> None:
    finished = platform.run(FLAKY, {"folder": str(tmp_path), "fails": 9})
    assert finished["status"] == "FAILED"
    assert "call 2" in finished["error"]["message"]


def test_e4_a_cancelled_retry_never_runs(platform: Live, tmp_path: Path) -> None:
    text = FLAKY.replace("initial_delay: 0.2", "initial_delay: 1.5")
    execution_id = platform.execute(text, {"folder": str(tmp_path)})
    platform.until(lambda: len(platform.events(execution_id, "call.error")) == 3, "each has failed once")
    platform.api.post(f"/api/executions/{execution_id}/cancel", {})
    time.sleep(2.5)
    assert platform.status(execution_id)["status"] == "CANCELLED"
    assert [(tmp_path / str(n)).read_text() for n in range(3)] == ["1", "1", "1"]


def test_a_worker_that_dies_in_its_sinks_repeats_no_call(platform: Live, outside: Postgres, tmp_path: Path) -> None:
    """The call is recorded before its sink begins: only the sink is done again."""
    ask(outside, "TRUNCATE sunk")
    calls = tmp_path / "calls"
    execution_id = platform.execute(SINKS, {"file": str(calls), "many": 6, "pause": 1.5})
    platform.until(lambda: len(platform.events(execution_id, "call.done")) == 6, "all calls are recorded")
    for process in platform.processes:
        if not process.url and process.alive:
            process.kill()
    platform.worker("language-2")
    assert platform.finish(execution_id)["status"] == "COMPLETED"
    assert sorted(calls.read_text().split()) == [str(n) for n in range(6)]
    rows = ask(outside, "SELECT DISTINCT n, label FROM sunk ORDER BY n")
    assert [(row["n"], row["label"]) for row in rows] == [(n, f"it's {n}") for n in range(6)]
    assert len(platform.events(execution_id, "sink.executed")) == 6
