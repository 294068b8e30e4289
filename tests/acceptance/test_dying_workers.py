"""Workers and what runs in them die, block, drain and come back: no accepted work is lost, no recorded work repeated."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
from breakable import LEASE, MakeLive, began, is_running
from live import Live
from stories import DIE_WITH_THE_WORKER, SQUARES, append, python


def test_e1_another_worker_finishes_what_a_killed_one_ran(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    workers = {name: crew.worker(name) for name in ("a", "b")}
    execution = crew.execute(python("e1", ("start", append(str(mark), "time.sleep(1.5)\nreturn 'done'"))))
    crew.until(began(mark), "the step has begun")
    first = str(is_running(crew, execution, "start")).partition(":")[0]
    workers[first].kill()
    crew.until(lambda: len(mark.read_text()) > 1, "another worker has begun the step")
    assert crew.finish(execution)["result"] == "done"
    (step,) = crew.steps(execution)
    assert step["attempts"] == 1
    (leased,) = crew.sql("SELECT fence FROM noetl.command WHERE execution_id = $1", int(execution))
    assert 2 <= len(mark.read_text()) <= (leased["fence"] + 1) / 2
    assert not step["worker"].startswith(f"{first}:")


def test_e2_a_step_whose_process_dies_fails_and_nothing_else(crew: Live) -> None:
    worker = crew.worker()
    dead = crew.run(python("e2", ("start", "def main():\n    import os\n    os._exit(3)")))
    assert dead["status"] == "FAILED"
    assert dead["error"]["type"] == "process_exit"
    for _ in range(3):
        assert crew.run(python("e2b", ("start", "result = 1")))["result"] == 1
    assert worker.alive


def test_e2_a_step_that_kills_its_worker_thrice_is_quarantined(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    execution = crew.execute(python("quarantine", ("start", append(str(mark), DIE_WITH_THE_WORKER))))
    for number in range(3):
        worker = crew.worker(f"victim{number}")
        worker.process.wait(60)
    crew.worker("survivor")
    ended = crew.finish(execution)
    assert ended["status"] == "FAILED"
    assert ended["error"]["type"] == "quarantined"
    assert mark.read_text() == "xxx"
    assert crew.run(python("after", ("start", "result = 2")))["result"] == 2


def test_e3_a_failure_is_recorded_while_the_worker_is_told_to_stop(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    told = tmp_path / "told"
    worker = crew.worker()
    fails = f"while not os.path.exists({str(told)!r}):\n    time.sleep(0.01)\nraise ValueError('as it should')"
    execution = crew.execute(python("e3", ("start", append(str(mark), fails))))
    crew.until(began(mark), "the step has begun")
    worker.send(signal.SIGTERM)
    crew.until(lambda: "draining" in {row["status"] for row in crew.api.get("/api/workers")["workers"]}, "the worker drains")
    told.touch()
    assert worker.process.wait(60) == 0
    ended = crew.finish(execution)
    assert ended["status"] == "FAILED"
    assert "as it should" in ended["error"]["message"]


def test_e5_what_was_cancelled_is_not_run_again_when_its_worker_dies(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    worker = crew.worker()
    execution = crew.execute(python("e5", ("start", append(str(mark), "time.sleep(30)"))))
    crew.until(began(mark), "the step has begun")
    assert crew.api.post(f"/api/executions/{execution}/cancel")["status"] == "CANCELLED"
    worker.kill()
    crew.worker("fresh")
    time.sleep(LEASE * 2)
    assert crew.run(python("e5b", ("start", "result = 1")))["result"] == 1
    assert crew.status(execution)["status"] == "CANCELLED"
    assert mark.read_text() == "x"


def test_cancel_stops_what_runs(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    crew.worker()
    code = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    execution = crew.execute(python("cancelled", ("start", code)))
    crew.until(began(mark), "the step has begun")
    child = psutil.Process(int(mark.read_text()))
    crew.api.post(f"/api/executions/{execution}/cancel")
    crew.until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the step's process is gone")
    assert [step["state"] for step in crew.steps(execution)] == ["cancelled"]


def test_e10_a_step_that_blocks_is_not_taken_away(make_live: MakeLive, tmp_path: Path) -> None:
    """Asleep, holding the interpreter's lock, busy; for longer than a lease, which is long enough for a machine that is busy itself."""
    lease = 6
    blocking = [f"time.sleep({lease * 2})", f"ctypes.PyDLL(None).sleep({lease * 2})", "re.match(r'(a+)+$', 'a' * 28 + 'b')"]
    marks = [tmp_path / str(number) for number in range(len(blocking))]
    with make_live({"NOETL_LEASE_SECONDS": str(lease)}) as one:
        one.server()
        one.worker("a")
        executions = [
            one.execute(python("e10", ("start", append(str(mark), f"{code}\nreturn 'done'"))))
            for mark, code in zip(marks, blocking, strict=True)
        ]
        for execution, mark in zip(executions, marks, strict=True):
            assert one.finish(execution)["result"] == "done"
            (step,) = one.steps(execution)
            assert (step["lost"], mark.read_text()) == (0, "x")
            (ran,) = one.sql("SELECT finished_at - claimed_at AS time FROM noetl.command WHERE execution_id = $1", int(execution))
            assert ran["time"].total_seconds() > lease


def test_invariant_7_the_loops_counts_add_up_at_every_moment(crew: Live) -> None:
    """Invariant 7."""
    crew.worker()
    execution = crew.execute(SQUARES, {"items": 60, "pause": 0.05})
    sums, running = [], []
    while crew.status(execution)["status"] == "RUNNING":
        loops = [step["loop"] for step in crew.steps(execution) if step["loop"]]
        sums += [loop["done"] + loop["failed"] + loop["cancelled"] + loop["waiting"] + loop["running"] - loop["total"] for loop in loops]
        running += [loop["running"] for loop in loops]
        assert all(count >= 0 for loop in loops for count in loop.values())
        (rows,) = crew.sql("SELECT count(*) AS rows FROM noetl.command WHERE execution_id = $1 AND step = 'each'", int(execution))
        assert rows["rows"] in (0, 60)
    assert set(sums) == {0}
    assert max(running) > 1
    assert crew.status(execution)["status"] == "COMPLETED"


def test_invariant_12_a_worker_that_is_told_to_stop_hands_its_work_back(crew: Live, tmp_path: Path) -> None:
    """Invariant 12: what runs on is given back within a bound, and no process is left."""
    mark = tmp_path / "mark"
    worker = crew.worker("leaver")
    tree = psutil.Process(worker.pid)
    code = append(str(mark), f"if len(open({str(mark)!r}).read()) > 1:\n    return 'second'\ntime.sleep(600)")
    execution = crew.execute(python("handback", ("start", code)))
    crew.until(began(mark), "the step has begun")
    family = tree.children(recursive=True)
    assert family
    assert worker.terminate() == 0
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    (command,) = crew.sql("SELECT status, lost, attempt FROM noetl.command WHERE execution_id = $1", int(execution))
    assert command == {"status": "waiting", "lost": 0, "attempt": 1}
    crew.worker("heir")
    assert crew.finish(execution)["result"] == "second"
    assert "leaver" in {row["name"] for row in crew.api.get("/api/workers")["workers"] if row["status"] == "gone"}


def test_a_killed_worker_leaves_no_process(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    worker = crew.worker("killed")
    execution = crew.execute(python("orphans", ("start", append(str(mark), "time.sleep(600)"))))
    crew.until(began(mark), "the step has begun")
    family = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    crew.until(lambda: not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE], "the children are gone")
    crew.api.post(f"/api/executions/{execution}/cancel")
