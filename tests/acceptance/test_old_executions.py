"""What cancelling has stopped is told; executions are listed since a time, and old ones deleted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from breakable import SHORT_LEASE, MakeLive
from live import Live
from stories import HEAD, python

from noetl.errors import UsageError

Json = Any
STOPPED = """\
  - {step: start, next: [each, child, later]}
  - step: each
    loop: {in: "{{ range(9) | list }}", iterator: n, mode: parallel, limit: 3}
    tool: {kind: python, code: "import time; time.sleep(600)"}
  - {step: child, tool: {kind: playbook, path: tests/sleeper}}
  - {step: later, pool: nobody, tool: {kind: python, code: "result = 1"}}
"""
EVERYTHING = """\
  - step: start
    loop: {in: [1, 2], iterator: n, mode: parallel}
    tool: {kind: duckdb, query: "CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES ({{ n }})"}
    vars: {kept: "{{ result.stats }}"}
    next: large
  - {step: large, tool: {kind: python, code: "result = ['x' * 1000] * 1000"}, next: child}
  - {step: child, tool: {kind: playbook, path: tests/small}, next: pages}
  - step: pages
    tool: {kind: http, url: "{{ url }}/health"}
    case: [{when: "{{ event.name == 'call.done' }}", then: {collect: {path: status, into: seen}}}]
"""


@pytest.fixture(scope="module")
def platform(make_live: MakeLive) -> Iterator[Live]:
    with make_live(SHORT_LEASE) as one:
        one.server()
        one.worker()
        one.register(python("sleeper", ("start", "import time; time.sleep(600)")))
        one.register(python("small", ("start", "result = 1")))
        yield one


def verb(live: Live, *words: str, code: int = 0) -> str:
    """Run a verb and return what it prints."""
    environ = live.environ({"NOETL_SERVER_URL": live.a_server.url})
    done = subprocess.run([sys.executable, "-m", "noetl.cli", *words], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def tables(live: Live, but: str = "0") -> dict[str, int]:
    """Return how many rows each table has that belongs to executions, but for those of one of them and its sub-playbooks."""
    others = "execution_id NOT IN (SELECT execution_id FROM noetl.execution WHERE $1 IN (execution_id, parent_execution_id))"
    columns = "SELECT table_name FROM information_schema.columns WHERE table_schema = 'noetl' AND column_name = 'execution_id'"
    names = {row["table_name"] for row in live.sql(columns)} - {"event"}
    return {name: live.sql(f"SELECT count(*) AS n FROM noetl.{name} WHERE {others}", int(but))[0]["n"] for name in sorted(names)}


def aged(live: Live, execution: str, days: int) -> None:
    """Make an execution that is over, and its sub-playbooks, older: ids begin with the time."""
    back = (days * 86_400_000) << 22
    for table in (*tables(live).keys() - {"execution", "file_piece", "file"}, "execution"):
        live.sql(f"UPDATE noetl.{table} SET execution_id = execution_id - $2 WHERE execution_id = $1", int(execution), back)
    live.sql("ALTER TABLE noetl.file_piece DROP CONSTRAINT IF EXISTS file_piece_execution_id_command_id_fence_fkey")
    for table in ("file_piece", "file"):
        live.sql(f"UPDATE noetl.{table} SET execution_id = execution_id - $2 WHERE execution_id = $1", int(execution), back)
    live.sql("ALTER TABLE noetl.file_piece ADD FOREIGN KEY (execution_id, command_id, fence) REFERENCES noetl.file ON DELETE CASCADE")
    move = "UPDATE noetl.execution SET start_time = start_time - $2::interval, end_time = end_time - $2::interval WHERE execution_id = $1"
    live.sql(move, int(execution) - back, timedelta(days=days))
    live.sql("UPDATE noetl.execution SET parent_execution_id = $2 WHERE parent_execution_id = $1", int(execution), int(execution) - back)


def test_cancelling_tells_what_it_has_stopped(platform: Live) -> None:
    execution = platform.execute(HEAD.format(name="stopped") + STOPPED)
    running = "SELECT 1 FROM noetl.command WHERE execution_id = $1 AND status = 'running' AND step = 'each'"
    platform.until(lambda: len(platform.sql(running, int(execution))) == 3, "three items run")
    child = "SELECT execution_id FROM noetl.execution WHERE parent_execution_id = $1"
    (found,) = platform.until(lambda: platform.sql(child, int(execution)), "the sub-playbook has begun")
    said = verb(platform, "execution", "cancel", execution, "--reason", "enough")
    assert said.splitlines() == [
        f"execution {execution}: CANCELLED",
        "  each: 3 stopped while running, 6 items not begun",
        "  later: 1 taken back while waiting",
        f"  with it: execution {found['execution_id']} of tests/sleeper",
    ]
    assert verb(platform, "execution", "cancel", execution) == f"execution {execution}: CANCELLED, before this already\n"
    assert platform.finish(str(found["execution_id"]))["status"] == "CANCELLED"
    waiting = platform.execute(python("waits", ("start", "result = 1", {"pool": "nobody"})))
    answer = json.loads(verb(platform, "execution", "cancel", waiting, "--json"))
    assert answer["stopped"] == [{"step": "start", "running": 0, "waiting": 1, "items": 0}]
    assert answer["children"] == []


def test_executions_since_a_time(platform: Live) -> None:
    old = platform.run(python("old", ("start", "result = 1")))["execution_id"]
    aged(platform, old, 2)
    new = platform.run(python("new", ("start", "result = 1")))["execution_id"]
    listed = {row["execution_id"]: row["path"] for row in json.loads(verb(platform, "execution", "list", "--json"))["executions"]}
    assert {"tests/old", "tests/new"} <= set(listed.values())
    since = json.loads(verb(platform, "execution", "list", "--since", "1d", "--json"))["executions"]
    assert new in {row["execution_id"] for row in since} and "tests/old" not in {row["path"] for row in since}
    longer = json.loads(verb(platform, "execution", "list", "--since", "3d", "--json"))["executions"]
    assert "tests/old" in {row["path"] for row in longer}
    zone = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    aged_id = next(one for one, path in listed.items() if path == "tests/old")
    more = verb(platform, "execution", "list", "--since", zone, "--path", "tests/old", "--limit", "1").splitlines()[-1]
    assert more == f"more: noetl execution list --path tests/old --since {zone} --before {aged_id}"
    assert "--since 'yesterday' is no time" in verb(platform, "execution", "list", "--since", "yesterday", code=2)
    with pytest.raises(UsageError, match="'soon' is no time"):
        platform.api.get("/api/executions", since="soon")


def test_old_executions_are_deleted_with_all_that_is_theirs(make_live: MakeLive) -> None:
    with make_live(SHORT_LEASE) as one:
        one.server()
        one.worker()
        one.register(python("small", ("start", "result = 1")))
        one.register(python("asleep", ("start", "result = 1"), ("more", "import time; time.sleep(600)")))
        kept = one.run(HEAD.format(name="everything") + EVERYTHING, {"url": one.a_server.url})
        assert kept["status"] == "COMPLETED", kept["error"]
        assert {name for name, count in tables(one).items() if not count} <= {"upload"}

        old = one.run(HEAD.format(name="everything") + EVERYTHING, {"url": one.a_server.url})["execution_id"]
        (child,) = one.sql("SELECT execution_id FROM noetl.execution WHERE parent_execution_id = $1", int(old))
        aged(one, str(child["execution_id"]), 40)
        aged(one, old, 40)
        failed = one.run(python("failed", ("start", "raise ValueError('no')")))["execution_id"]
        aged(one, failed, 40)
        # Of what is not over nothing is deleted, however long ago it began, nor what belongs to it.
        running = one.execute(HEAD.format(name="running") + "  - {step: start, tool: {kind: playbook, path: tests/small}, next: asleep}\n"
                              "  - {step: asleep, tool: {kind: playbook, path: tests/asleep}}\n")  # fmt: skip
        one.until(lambda: [step for step in one.steps(running) if step["step"] == "asleep"], "its first sub-playbook is over")
        (inner,) = one.sql("SELECT execution_id FROM noetl.execution WHERE parent_execution_id = $1 AND path = 'tests/small'", int(running))
        aged(one, str(inner["execution_id"]), 40)

        planned = verb(one, "execution", "prune", "--older-than", "30d", "--dry-run")
        assert planned.splitlines()[-1] == "would delete 3 executions; nothing was deleted"
        assert [line.split()[:2] for line in planned.splitlines()[1:3]] == [["COMPLETED", "2"], ["FAILED", "1"]]
        assert "how old is not given" in verb(one, "execution", "prune", code=2)
        assert verb(one, "execution", "prune", "--older-than", "30d", "--status", "failed") == "1 execution deleted\n"
        assert verb(one, "execution", "prune", "--older-than", "30d", "--batch", "1") == "2 executions deleted\n"
        assert verb(one, "execution", "prune", "--older-than", "30d") == "0 executions deleted\n"
        assert one.status(running)["status"] == "RUNNING"
        assert one.sql("SELECT count(*) AS n FROM noetl.execution WHERE path = 'tests/small'")[0]["n"] == 2

        one.api.post(f"/api/executions/{running}/cancel", {})
        ended = "SELECT 1 FROM noetl.execution WHERE end_time IS NULL"
        one.until(lambda: not one.sql(ended), "all is over")
        assert verb(one, "execution", "prune", "--older-than", "30d") == "1 execution deleted\n"
        one.api.post("/api/executions/prune", {"before": datetime.now(UTC).isoformat(), "path": "tests/running"})
        one.api.post("/api/executions/prune", {"before": datetime.now(UTC).isoformat(), "path": "tests/asleep"})
        assert set(tables(one, kept["execution_id"]).values()) == {0}
        assert {name for name, count in tables(one).items() if not count} <= {"upload"}
        assert one.result(kept["execution_id"], "large") == ["x" * 1000] * 1000
