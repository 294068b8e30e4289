"""What must hold whatever a step does: it ends that step only, and nothing is left running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from outcomes import value

from noetl.tools.base import TOO_LONG
from noetl.worker.job import Large
from noetl.worker.sandbox import Done, Failed

LEAVE_A_DAEMON = """
import subprocess
def main():
    process = subprocess.Popen(["setsid", "sh", "-c", "sleep 77 & sleep 77"], start_new_session=True)
    return process.pid
"""


def sleepers(seconds: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["cmdline"] == ["sleep", str(seconds)] and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


async def gone(check: Callable[[], Any], within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while check():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def test_a_step_returns_its_result(bench: Any) -> None:
    assert value(await bench.python("def main(x): return x + 1", args={"x": "{{ y }}"}, scope={"y": 4})) == 5


async def test_processes_are_warm_and_the_last_one_is_taken_again(bench: Any) -> None:
    code = "import os\nresult = os.getpid()"
    assert len({value(await bench.python(code)) for _ in range(10)}) == 1


async def test_no_more_than_its_size_at_a_time(make_bench: Any) -> None:
    bench = await make_bench(size=2)
    code = "import os, time\ntime.sleep(0.1)\nresult = os.getpid()"
    outcomes = await asyncio.gather(*(bench.python(code) for _ in range(6)))
    assert len({value(outcome) for outcome in outcomes}) == 2


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("import os; os._exit(3)", "process_exit", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "process_exit", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "process_exit", "SIGKILL"),
        ("import sys; sys.exit(4)", "SystemExit", "sys.exit(4)"),
        ("x = bytearray(4 * 1024**3)", "memory", "1024 MiB"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "line 1"),
        ("def main(): main()\n", "RecursionError", "line 1"),
        ("def f(:", "SyntaxError", "line 1"),
        ("import os\nfor number in range(3, 64):\n    try: os.close(number)\n    except OSError: pass\n", "process_exit", "work"),
    ],
)
async def test_what_ends_badly_fails_its_step_and_the_next_one_runs(bench: Any, code: str, kind: str, said: str) -> None:
    outcome = await bench.python(code)
    assert isinstance(outcome, Failed)
    assert outcome.error["type"] == kind
    assert said in outcome.error["message"]
    assert value(await bench.python("result = 1")) == 1


async def test_a_step_that_eats_memory_bit_by_bit_fails(make_bench: Any) -> None:
    bench = await make_bench(memory=300 * 1024**2)
    outcome = await bench.python("keep = []\nwhile True: keep.append('x' * 100_000)")
    assert outcome.error["type"] == "memory"


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)", "import signal\nsignal.pause()"])
async def test_a_step_has_a_time_limit(bench: Any, code: str) -> None:
    outcome = await bench.run("python", {"code": code, "timeout": "0.3s"}, step="slow")
    assert outcome == Failed({"type": "timeout", "message": "step slow ran longer than 0.3 s", "hint": TOO_LONG})


async def test_a_time_limit_may_be_a_template(bench: Any) -> None:
    started = time.monotonic()
    outcome = await bench.run("python", {"code": "import time; time.sleep(60)", "timeout": "{{ limit }}"}, scope={"limit": 0.2})
    assert outcome.error["type"] == "timeout"
    assert time.monotonic() - started < 5


async def test_a_time_limit_that_is_none_is_refused(bench: Any) -> None:
    outcome = await bench.run("python", {"code": "result = 1", "timeout": "soon"})
    assert outcome.error["type"] == "config"


async def test_a_killed_job_takes_its_processes_with_it(bench: Any) -> None:
    job = bench.job("python", {"code": LEAVE_A_DAEMON + "\nmain()\nimport time\ntime.sleep(60)"})
    running = asyncio.create_task(bench.sandbox.run(job))
    assert await gone(lambda: not sleepers(77))
    bench.sandbox.kill(job.key)
    outcome = await running
    assert outcome.error["type"] == "killed"
    assert not sleepers(77)


async def test_killing_what_is_not_there_does_nothing(bench: Any) -> None:
    bench.sandbox.kill(("none", 1, 1))
    assert value(await bench.python("result = 1")) == 1


async def test_a_job_killed_while_it_waits_never_runs(make_bench: Any, tmp_path: Path) -> None:
    bench = await make_bench(size=1)
    first = asyncio.create_task(bench.python("import time; time.sleep(0.4)"))
    await asyncio.sleep(0.1)
    trace = tmp_path / "ran"
    job = bench.job("python", {"code": f"open({str(trace)!r}, 'w')"})
    second = asyncio.create_task(bench.sandbox.run(job))
    await asyncio.sleep(0.05)
    bench.sandbox.kill(job.key)
    assert (await second).error["type"] == "killed"
    await first
    assert not trace.exists()


async def test_processes_left_behind_are_killed(bench: Any) -> None:
    pid = value(await bench.python(LEAVE_A_DAEMON))
    assert await gone(lambda: psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    assert await gone(lambda: sleepers(77))


async def test_orphans_of_a_process_that_crashed_are_killed(bench: Any) -> None:
    await bench.python(LEAVE_A_DAEMON + "\nmain()\nimport os\nos._exit(1)")
    assert not sleepers(77)


async def test_a_copy_that_the_step_forks_off_does_not_answer_in_its_place(bench: Any) -> None:
    code = "import os\nresult = 'child' if os.fork() == 0 else 'parent'\nimport time\nif result == 'parent': time.sleep(0.1)"
    assert value(await bench.python(code)) == "parent"
    assert value(await bench.python("result = 2")) == 2


async def test_threads_left_behind_end_their_process(bench: Any) -> None:
    pid = value(
        await bench.python("import os, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nresult = os.getpid()")
    )
    assert value(await bench.python("import os\nresult = os.getpid()")) != pid
    assert await gone(lambda: psutil.pid_exists(pid))


async def test_a_step_leaves_nothing_to_the_next_one(bench: Any) -> None:
    await bench.python("import os, sys, signal\nos.environ['LEFT'] = '1'; os.chdir('/'); sys.stdout = None; sys.path.clear()\nkeep = 1\n")
    code = "import os, sys\nresult = [os.environ.get('LEFT'), os.getcwd(), sys.stdout is None, bool(sys.path), 'keep' in globals()]"
    assert value(await bench.python(code)) == [None, str(Path.cwd()), False, True, False]


async def test_the_environment_is_scrubbed(bench: Any) -> None:
    names = value(await bench.python("import os\nresult = sorted(os.environ)"))
    assert "HOME" in names
    assert not [name for name in names if name.startswith(("NOETL_", "POSTGRES_", "PG", "NATS_"))]


async def test_what_a_step_prints_is_logged_and_bounded(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="noetl.worker.step")
    code = "import os, subprocess\nprint('from print')\nos.write(1, b'from write\\n')\nsubprocess.run(['echo', 'from echo'])\nprint('x' * 300_000)"  # noqa: E501
    value(await bench.python(code, step="talk"))
    assert "talk" in caplog.text
    assert "bytes left out" in caplog.text
    assert len(caplog.text) < 100_000
    value(
        await bench.python(
            "import os, subprocess\nprint('from print')\nos.write(2, b'from write\\n')\nsubprocess.run(['echo', 'from echo'])"
        )
    )
    assert all(f"from {source}" in caplog.text for source in ("print", "write", "echo"))


async def test_what_a_step_printed_before_it_hung_is_logged(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="noetl.worker.step")
    await bench.run("python", {"code": "print('so far')\nwhile True: pass", "timeout": 0.3})
    assert "so far" in caplog.text


async def test_a_large_result_comes_through_and_a_larger_one_is_refused(bench: Any) -> None:
    large = await bench.python("result = 'x' * 1_000_000")
    assert isinstance(large, Large)
    text = Path(large.file).read_bytes()
    assert len(text) == large.size
    assert orjson.loads(text) == "x" * 1_000_000
    outcome = await bench.python("result = 'x' * 1_100_000")
    assert outcome.error["type"] == "result"
    assert "NOETL_MAX_RESULT" in outcome.error["message"]


async def test_nothing_is_left_after_close(bench: Any) -> None:
    running = [asyncio.create_task(bench.python(LEAVE_A_DAEMON + "\nmain()\nimport time\ntime.sleep(60)")) for _ in range(2)]
    assert await gone(lambda: len(sleepers(77)) < 2)
    processes = bench.sandbox.processes
    assert len(processes) == 3
    await bench.sandbox.close()
    assert not [pid for pid in processes if psutil.pid_exists(pid)]
    assert not sleepers(77)
    assert {(await task).error["type"] for task in running} == {"killed"}
    assert (await bench.python("result = 1")).error["type"] == "unavailable"


async def test_a_step_that_begins_as_the_zygote_dies_has_another_one(bench: Any) -> None:
    """Before the event loop has heard of it."""
    zygote = psutil.Process(bench.sandbox.processes[0])
    zygote.kill()
    while zygote.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert value(await bench.python("result = 1")) == 1
    assert zygote.pid not in bench.sandbox.processes


async def test_another_zygote_takes_the_place_of_one_that_died(bench: Any) -> None:
    assert value(await bench.python("result = 1")) == 1
    running = asyncio.create_task(bench.python("import time; time.sleep(60)"))
    await asyncio.sleep(0.2)
    os.kill(bench.sandbox.processes[0], signal.SIGKILL)
    assert (await running).error["type"] == "process_exit"
    assert value(await bench.python("result = 2")) == 2


async def test_nothing_is_left_when_the_worker_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from noetl.playbook.model import Tool
        from noetl.worker.sandbox import Job, Sandbox

        async def main():
            sandbox = Sandbox(size=1, memory=2**30, workdir=Path(sys.argv[1]), environ=os.environ, fetch=None)
            await sandbox.start()
            code = "import subprocess, time\\nsubprocess.Popen(['setsid', 'sleep', '78'], start_new_session=True)\\ntime.sleep(60)"
            task = asyncio.create_task(sandbox.run(Job(("e", 1, 1), "s", Tool("python", {"code": code}))))
            await asyncio.sleep(0.7)
            print(*sandbox.processes, flush=True)
            await task

        asyncio.run(main())
        """
    )
    worker = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        processes = [int(pid) for pid in (await asyncio.to_thread(worker.stdout.readline)).split()]
        assert len(processes) == 2
        assert sleepers(78)
    finally:
        worker.kill()
        worker.communicate()
    assert await gone(lambda: [pid for pid in processes if psutil.pid_exists(pid)] or sleepers(78))


async def test_what_begins_late_asks_whether_its_lease_is_live(bench: Any, tmp_path: Path) -> None:
    """Invariant 4: a worker that was stopped past its leases begins nothing that another may have done meanwhile."""
    trace = tmp_path / "ran"
    code = f"open({str(trace)!r}, 'a').write('x')"
    assert isinstance(await bench.sandbox.run(bench.job("python", {"code": code}), time.monotonic() + 60), Done)
    assert bench.fetched == []
    late = time.monotonic() - 0.1
    outcome = await bench.sandbox.run(bench.job("python", {"code": code}), late)
    assert (bench.fetched, trace.read_text()) == ([("lease", "")], "x")
    assert outcome.error["type"] == "not_found"
    bench.values[""] = time.monotonic() + 60
    assert isinstance(await bench.sandbox.run(bench.job("python", {"code": code}), late), Done)
    assert trace.read_text() == "xx"


async def test_an_answer_about_a_lease_that_came_too_late_is_asked_for_again(bench: Any) -> None:
    """Invariant 4: a worker may be stopped between the server's answer and the step's beginning, for longer than the lease."""
    said = [0.0, time.monotonic() - 1, time.monotonic() + 60]
    bench.values[""] = lambda: said.pop(0)
    assert isinstance(await bench.sandbox.run(bench.job("python", {"code": "result = 1"}), 0.0), Done)
    assert bench.fetched == [("lease", "")] * 3


async def test_what_was_prepared_for_long_asks_for_its_lease_anew(bench: Any, tmp_path: Path) -> None:
    """Invariant 4: the lease must be live when the tool is called, not when its args began to be rendered."""
    ended, credential = tmp_path / "ended", {"password": "canary"}

    def slow() -> dict[str, str]:
        time.sleep(0.3)
        return credential

    bench.credentials["db"] = slow
    bench.values[""] = lambda: time.monotonic() + 60
    keychain = ({"name": "db", "kind": "credential", "config": {"credential": "db"}},)
    code = f"open({str(ended)!r}, 'w').write(word)"
    job = bench.job("python", {"code": code}, args={"word": "{{ keychain.db.password }}"}, keychain=keychain)
    assert isinstance(await bench.sandbox.run(job, time.monotonic() + 0.1), Done)
    assert bench.fetched == [("credential", "db"), ("lease", "")]
    del bench.values[""]
    ended.unlink()
    late = bench.job("python", {"code": code}, args={"word": "{{ keychain.db.password }}"}, keychain=keychain)
    assert (await bench.sandbox.run(late, time.monotonic() + 0.1)).error["type"] == "not_found"
    assert not ended.exists()


async def test_a_job_is_killed_though_the_zygote_is_stopped(bench: Any) -> None:
    job = bench.job("python", {"code": "import time; time.sleep(60)"})
    running = asyncio.create_task(bench.sandbox.run(job))
    assert await gone(lambda: len(bench.sandbox.processes) < 2)
    zygote, child = bench.sandbox.processes
    os.kill(zygote, signal.SIGSTOP)
    try:
        bench.sandbox.kill(job.key)
        assert (await running).error["type"] == "killed"
        assert await gone(lambda: psutil.Process(child).status() != psutil.STATUS_ZOMBIE)
    finally:
        os.kill(zygote, signal.SIGCONT)
    assert value(await bench.python("result = 1")) == 1


async def test_what_is_sent_ahead_runs_only_when_it_is_told_to(bench: Any, tmp_path: Path) -> None:
    """Invariant 3: a call begins under its lease; what comes before it may be done while that is still being recorded."""
    assert value(await bench.python("result = 1")) == 1
    trace = tmp_path / "trace"
    job = bench.job("python", {"code": f"open({str(trace)!r}, 'a').write('x')\nresult = y"}, args={"y": "{{ 1 + 1 }}"})
    dropped = bench.job("python", {"code": f"open({str(trace)!r}, 'a').write('dropped')"})
    bench.sandbox.prepare(dropped)
    await asyncio.sleep(0.2)
    bench.sandbox.drop(dropped.key)
    await asyncio.sleep(0.2)
    bench.sandbox.prepare(job)
    await asyncio.sleep(0.2)
    assert not trace.exists()
    children = bench.sandbox.processes
    assert (value(await bench.sandbox.run(job)), trace.read_text()) == (2, "x")
    assert bench.sandbox.processes == children
    assert value(await bench.python("result = 3")) == 3


async def test_what_is_sent_ahead_and_never_ready_is_in_nobodys_way(bench: Any) -> None:
    """Invariant 8: templates without an end keep the process that they are in, and no other step waits for it."""
    assert value(await bench.python("result = 1")) == 1
    busy = bench.sandbox.processes[1]
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    job = bench.job("python", {"code": "result = 1"}, args={"x": endless})
    bench.sandbox.prepare(job)
    bench.sandbox.drop(job.key)
    outcome = await bench.sandbox.run(bench.job("python", {"code": "result = 2"}, timeout=3.0))
    assert value(outcome) == 2
    assert await gone(lambda: busy in bench.sandbox.processes, within=20)
    assert value(await bench.python("result = 3")) == 3


async def test_nothing_is_fetched_ahead_of_the_lease(bench: Any) -> None:
    bench.credentials["db"], bench.values[""] = {"password": "canary"}, time.monotonic() + 60
    keychain = ({"name": "db", "kind": "credential", "config": {"credential": "db"}},)
    assert value(await bench.python("result = 1")) == 1
    job = bench.job("python", {"code": "result = len(word)"}, args={"word": "{{ keychain.db.password }}"}, keychain=keychain)
    bench.sandbox.prepare(job)
    await asyncio.sleep(0.2)
    assert bench.fetched == []
    assert value(await bench.sandbox.run(job, until=0.0)) == 6
    assert bench.fetched == [("lease", ""), ("credential", "db")]


async def test_a_process_that_dies_while_it_waits_is_replaced(bench: Any) -> None:
    assert value(await bench.python("result = 1")) == 1
    job = bench.job("python", {"code": "result = 5"})
    bench.sandbox.prepare(job)
    os.kill(bench.sandbox.processes[1], signal.SIGKILL)
    assert await gone(lambda: len(bench.sandbox.processes) > 1)
    assert value(await bench.sandbox.run(job)) == 5


async def test_what_is_broken_fails_once_it_is_told_to_run(bench: Any) -> None:
    assert value(await bench.python("result = 1")) == 1
    job = bench.job("python", {"code": "result = x"}, args={"x": "{{ 1 / 0 }}"})
    bench.sandbox.prepare(job)
    await asyncio.sleep(0.1)
    outcome = await bench.sandbox.run(job)
    assert isinstance(outcome, Failed), outcome
    assert "division by zero" in outcome.error["message"]


async def test_what_is_ready_begins_before_anybody_waits_for_its_outcome(bench: Any, tmp_path: Path) -> None:
    assert value(await bench.python("result = 1")) == 1
    trace = tmp_path / "trace"
    job = bench.job("python", {"code": f"open({str(trace)!r}, 'a').write('x')\nresult = 4"})
    bench.sandbox.begin(job, None)
    bench.sandbox.prepare(job)
    await asyncio.sleep(0.2)
    assert not trace.exists()
    bench.sandbox.begin(job, None)
    bench.sandbox.begin(job, None)
    assert await gone(lambda: not trace.exists())
    await asyncio.sleep(0.1)
    assert (value(await bench.sandbox.run(job)), trace.read_text()) == (4, "x")
    assert value(await bench.python("result = 3")) == 3


async def test_what_imports_for_long_asks_for_its_lease_afterwards(
    make_bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 4: the lease must be live when the code is run, not when its libraries began to be imported."""
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.4)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bench, ran = await make_bench(), tmp_path / "ran"
    assert value(await bench.python("result = 1")) == 1
    job = bench.job("python", {"code": f"open({str(ran)!r}, 'w')\nresult = 1", "libs": {"slow": "slow_to_import"}})
    assert (await bench.sandbox.run(job, time.monotonic() + 0.2)).error["type"] == "not_found"
    assert (bench.fetched, ran.exists()) == ([("lease", "")], False)


async def test_what_has_begun_at_once_asks_for_its_lease_too(bench: Any) -> None:
    bench.values[""] = time.monotonic() + 60
    assert value(await bench.python("result = 1")) == 1
    job = bench.job("python", {"code": "result = 6"})
    bench.sandbox.prepare(job)
    bench.sandbox.begin(job, 0.0)
    assert value(await bench.sandbox.run(job, until=0.0)) == 6
    assert bench.fetched == [("lease", "")]


@pytest.mark.parametrize("ending", ["kill", "death"])
async def test_what_ends_before_anybody_waits_for_its_outcome_has_one(bench: Any, ending: str) -> None:
    assert value(await bench.python("result = 1")) == 1
    job = bench.job("python", {"code": "import time; time.sleep(60)"})
    bench.sandbox.prepare(job)
    bench.sandbox.begin(job, None)
    child = bench.sandbox.processes[1]
    if ending == "kill":
        bench.sandbox.kill(job.key)
    else:
        os.kill(child, signal.SIGKILL)
    assert await gone(lambda: child in bench.sandbox.processes)
    outcome = await bench.sandbox.run(job)
    assert isinstance(outcome, Failed), outcome
    assert outcome.error["type"] == ("killed" if ending == "kill" else "process_exit")
    assert value(await bench.python("result = 3")) == 3
