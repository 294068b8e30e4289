"""Leases: how many there are at once, and what becomes of them when workers are stopped, woken, killed and replaced."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from live import Live, processes_of
from stories import HEAD, append, python

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
LEASE = 2.0
ITEMS, LIMIT = 1200, 7
"""Fewer than the ten thousand that a loop of any size behaves like, to be through in seconds."""


@pytest.fixture(scope="module")
def own(make_live: MakeLive) -> Iterator[Live]:
    """A server with short leases; each test starts the workers that it needs."""
    with make_live({"NOETL_LEASE_SECONDS": str(LEASE)}) as one:
        one.server()
        yield one


@pytest.fixture
def crew(own: Live) -> Iterator[Live]:
    """The server, with no worker left over from another test."""
    yield own
    for running in own.processes:
        if not running.url and running.alive:
            running.send(signal.SIGCONT)
            running.kill()


def counted(name: str, file: Path, items: int, limit: int | None = None, pause: float = 0) -> str:
    """Return a playbook whose parallel loop leaves a line in a file for each item."""
    code = f"def main(n):\n    import time\n    open({str(file)!r}, 'a').write(f'{{n}}\\n')\n    time.sleep({pause})\n    return n"
    loop = {"in": f"{{{{ range({items}) | list }}}}", "iterator": "n", "mode": "parallel", **({"limit": limit} if limit else {})}
    steps = [
        {"step": "start", "tool": {"kind": "python", "code": "result = 1"}, "next": "each"},
        {"step": "each", "loop": loop, "tool": {"kind": "python", "code": code}},
    ]
    return HEAD.format(name=name) + "".join(f"  - {json.dumps(step)}\n" for step in steps)


def lines(file: Path) -> list[int]:
    """Return the items that have left their line."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def recorded(live: Live, execution: str) -> list[int]:
    """Return the items whose result is recorded, once for each record."""
    return sorted(event["context"]["item"] for event in live.events(execution, "call.done") if event["node_name"] == "each")


def test_e9_a_limit_is_the_most_leases_at_once_and_only_the_rest_is_run_after_a_kill(crew: Live, tmp_path: Path) -> None:
    file = tmp_path / "items"
    worker = crew.worker("a", slots=16)
    execution = crew.execute(counted("limited", file, ITEMS, LIMIT))
    seen: list[int] = []
    over = threading.Event()

    def sample() -> None:
        query = "SELECT count(*) AS n FROM noetl.command WHERE execution_id = $1 AND step = 'each' AND status IN ('waiting', 'running')"
        while not over.wait(0.02):
            seen.append(crew.sql(query, int(execution))[0]["n"])

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        crew.until(lambda: len(lines(file)) > ITEMS // 2, "half of the items have run")
        worker.kill()
        before = recorded(crew, execution)
        crew.worker("b", slots=16)
        ended = crew.finish(execution)
    finally:
        over.set()
        thread.join()
    assert ended["status"] == "COMPLETED"
    assert recorded(crew, execution) == list(range(ITEMS))
    assert len(seen) > 20
    assert 1 < max(seen) <= LIMIT
    times = Counter(lines(file))
    assert sorted(times) == list(range(ITEMS))
    again = {item for item, number in times.items() if number > 1}
    lost = {row["item"] for row in crew.sql("SELECT item FROM noetl.command WHERE execution_id = $1 AND fence > 1", int(execution))}
    assert again <= lost
    # What was recorded at the kill is not run after it.
    assert len(before) > ITEMS // 2 - LIMIT
    assert {item: times[item] for item in before if item not in lost} == dict.fromkeys(set(before) - lost, 1)


def test_e1_a_worker_stopped_past_its_lease_changes_nothing_when_it_wakes(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    sleeper = crew.worker("sleeper")
    execution = crew.execute(python("stopped", ("start", append(str(mark), "time.sleep(1)\nreturn os.getpid()"))))
    crew.until(mark.exists, "the step runs")
    sleeper.send(signal.SIGSTOP)
    crew.worker("other")
    ended = crew.finish(execution)
    assert ended["status"] == "COMPLETED"
    begun = mark.read_text()
    before = crew.events(execution)
    sleeper.send(signal.SIGCONT)
    crew.until(lambda: "is no longer leased" in sleeper.said() or "stale" in sleeper.said(), "the one that wakes learns that it is late")
    assert crew.events(execution) == before
    assert crew.status(execution)["result"] == ended["result"]
    (row,) = crew.sql("SELECT status, fence FROM noetl.command WHERE execution_id = $1", int(execution))
    assert row["status"] == "done"
    assert 2 <= len(begun) <= (row["fence"] + 1) / 2
    assert mark.read_text() == begun
    assert crew.run(python("after", ("start", "result = 1")))["result"] == 1


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "with its children"])
def test_a_worker_stopped_in_a_chain_and_a_loop_begins_nothing_that_is_recorded(crew: Live, tmp_path: Path, whole: bool) -> None:
    """Invariant 4: it wakes with commands taken, made ready, running and finished, all of which others have done by then."""
    marks = tmp_path / "marks"

    def code(key: str) -> str:
        mark = f"open({str(marks)!r}, 'a').write(f'{key} {{at}}\\n')"
        return f"import time\ndef main(n=None):\n    at = time.time_ns()\n    {mark}\n    time.sleep(0.05)\n    return 1"

    chain = python("stopped_chain", *((name, code(name)) for name in ("start", *(f"s{number}" for number in range(150)))))
    loop = {"loop": {"in": f"{{{{ range({ITEMS}) | list }}}}", "iterator": "n", "mode": "parallel"}}
    items = python("stopped_loop", ("start", "result = 1"), ("each", code("each:{n}"), loop))
    stopped, _ = crew.worker("stopped", slots=4), crew.worker("other", slots=4)
    executions = [crew.execute(chain)]
    crew.until(lambda: marks.exists() and "s5 " in marks.read_text(), "the chain is under way")
    executions.append(crew.execute(items))
    taken = "SELECT FROM noetl.command WHERE step = 'each' AND status = 'running' AND execution_id = $1 AND worker_id LIKE 'stopped:%'"
    crew.until(lambda: "each:" in marks.read_text() and crew.sql(taken, int(executions[1])), "it has a part of the loop")
    main = psutil.Process(stopped.pid)
    processes = [main, *(main.children(recursive=True) if whole else [])]
    for process in processes:
        process.suspend()
    time.sleep(LEASE * 2)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    assert [crew.finish(execution)["status"] for execution in executions] == ["COMPLETED", "COMPLETED"]
    # What it holds now, it has taken since: everything from before has come to its end in it, or was killed.
    assert crew.run(python("after", ("start", "result = 1")))["result"] == 1
    began: dict[str, list[int]] = defaultdict(list)
    for line in marks.read_text().splitlines():
        key, at = line.split()
        began[key].append(int(at))
    both = [int(execution) for execution in executions]
    rows = crew.sql("SELECT step, item, fence, status, finished_at FROM noetl.command WHERE execution_id = ANY($1::bigint[])", both)
    assert max(row["fence"] for row in rows) > 1, "nothing was taken from it"
    for row in rows:
        runs = began.get(row["step"] if row["item"] is None else f"{row['step']}:{row['item']}", [])
        assert row["status"] == "done"
        assert [at for at in runs if at / 1e9 > row["finished_at"].timestamp()] == [], f"{row} ran again: {runs}"
    ends = "FROM noetl.event WHERE execution_id = ANY($1::bigint[]) AND event_type = 'call.done'"
    assert crew.sql(f"SELECT command_id {ends} GROUP BY execution_id, command_id HAVING count(*) > 1", both) == []


def test_e11_workers_of_one_name_replaced_in_turn_strand_nothing(crew: Live, tmp_path: Path) -> None:
    file = tmp_path / "items"
    worker = crew.worker("rolling", slots=4)
    execution = crew.execute(counted("rolling", file, 120, pause=0.1))
    for share in (20, 50, 80):
        crew.until(lambda share=share: len(lines(file)) > share, "some more items have run")
        assert worker.terminate() == 0
        worker = crew.worker("rolling", slots=4)
    assert crew.finish(execution)["status"] == "COMPLETED"
    assert recorded(crew, execution) == list(range(120))
    assert worker.terminate() == 0
    assert [process for process in processes_of(crew.home) if "noetl.worker" in " ".join(process.cmdline())] == []
