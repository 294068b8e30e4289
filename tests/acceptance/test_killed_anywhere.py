"""`kill -9` at every point: after it the next verb does its work, and nothing is left that nobody knows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from acceptance_home import Operator
from test_lifecycle import wait_for

from noetl.ops import ports

# Runs a verb that gets a signal just before the N-th thing that it does to this machine, and lists what it does.
VERB = """
import os, signal, sys, threading
from noetl import cli, program, tasks

DOES = ("fcntl.flock", "os.fork", "os.kill", "os.remove", "os.rename", "subprocess.Popen")
me, last, counted, one_at_a_time = os.getpid(), int(sys.argv[1]), 0, threading.Lock()

def look(event, given):
    global counted
    writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
    if os.getpid() != me or not (writes or event in DOES):
        return
    with one_at_a_time:
        counted += 1
        os.write(points, f"{counted} {event} {given[:2]}\\n".encode())
        if counted == last:
            signal.raise_signal(number)

number = int(sys.argv[2])
points = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
sys.addaudithook(look)
cli.main(sys.argv[4:])
"""
# All points take the better part of an hour. NOETL_TEST_EVERY_POINT=1 takes them; with 4, none is left out between a start of a process and
# the last line about it.
STRIDE = int(os.environ.get("NOETL_TEST_EVERY_POINT", "13"))
LONGEST = 600 if STRIDE >= 4 else 3600
# Its items run for as long as a file is there: what is begun again in a later test is over at once, and no `down` waits for it.
HELD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: held, path: tests/held}
workload: {file: ""}
workflow:
  - step: start
    loop: {in: "{{ range(8) | list }}", iterator: n, mode: parallel}
    tool:
      kind: python
      args: {file: "{{ workload.file }}"}
      code: |
        import os, time
        def main(file):
            while os.path.exists(file):
                time.sleep(0.2)
"""
SERVICES = {"postgres", "nats", "server", "worker worker-1"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator whose embedded data is made once for all of these."""
    folder = tmp_path_factory.mktemp("killed")
    one = Operator(folder / "home", ports.free(), folder)
    one.ok("db", "init")
    one.ok("down")
    (folder / "held.yaml").write_text(HELD)
    yield one
    one.run("down", "--force", "--timeout", "3")


@pytest.fixture
def killed(shared: Operator) -> Iterator[Operator]:
    """The same operator; nothing runs before, and nothing may be left after."""
    yield shared
    left = shared.processes()
    for process in left:
        process.kill()
    assert left == []
    assert list(shared.home.glob("*.pid")) == []


def everything_runs(operator: Operator) -> None:
    """Bring everything up, see that it runs, and that each part of it is there once."""
    operator.ok("up")
    operator.ok("doctor")
    services = operator.services()
    assert {name for name, row in services.items() if row["state"] == "running"} == SERVICES
    mains = [one for one in operator.processes() if {"noetl.server", "noetl.worker"} & set(one.cmdline())]
    assert {one.pid for one in mains} == {services["server"]["pid"], services["worker worker-1"]["pid"]}


def step_of(operator: Operator, file: Path) -> psutil.Process:
    """Return the process that runs a step of the worker, after one has been started that runs while there is a file."""
    file.touch()
    operator.ok("run", str(operator.folder / "held.yaml"), "--set", f"file={file}", "--detach")
    found: list[psutil.Process] = []

    def runs() -> bool:
        found[:] = [one for one in zygote_of(operator).children() if one.children() or one.status() == psutil.STATUS_SLEEPING]
        return bool(operator.services()["worker worker-1"]["running"]) and bool(found)

    wait_for(runs)
    return found[0]


def zygote_of(operator: Operator) -> psutil.Process:
    """Return the process from which a worker forks those of its steps."""
    worker = psutil.Process(operator.services()["worker worker-1"]["pid"])
    return next(one for one in worker.children() if "noetl.worker.zygote" in one.cmdline())


@pytest.mark.parametrize("part", ["zygote", "step", "worker worker-1", "server", "nats", "postgres"])
def test_a_part_is_killed(killed: Operator, part: str, tmp_path: Path) -> None:
    for then in ("up", "down"):
        everything_runs(killed)
        step = step_of(killed, tmp_path / then)
        own = {"zygote": zygote_of(killed).pid, "step": step.pid}
        os.kill(own.get(part) or killed.services()[part]["pid"], signal.SIGKILL)
        if then == "up":
            everything_runs(killed)
        killed.ok("down")
        assert killed.processes() == []
        (tmp_path / then).unlink()


@pytest.mark.parametrize(
    ("verb", "then", "first"),
    [
        ("up", "down", 1),
        ("up", "up", 4),
        ("server start", "server stop", 2),
        ("worker start", "worker stop --all", 3),
        ("down", "down", 4),
        ("down", "up", 2),
        ("server stop", "server start", 1),
        ("worker stop --all", "worker start", 1),
        ("worker roll", "worker roll", 3),
    ],
)
@pytest.mark.timeout(LONGEST)
def test_a_verb_is_killed_at_any_point(killed: Operator, verb: str, then: str, first: int, tmp_path: Path) -> None:
    before = {"up": "", "server start": "", "worker start": "server start"}.get(verb, "up")
    ended, at = False, first
    while not ended:
        if before:
            killed.ok(*before.split())
        ended, point = to_a_point(killed, verb, at, signal.SIGKILL, tmp_path / "points")
        after = killed.run(*then.split())
        assert after.returncode == 0, f"{point}\nthen {then}: {after.stdout}{after.stderr}"
        if then in ("up", "worker roll"):
            everything_runs(killed)
        killed.ok("down")
        assert [(one.pid, one.cmdline()) for one in killed.processes()] == [], point
        at += STRIDE
    assert at > first + STRIDE, "it was killed once at least"


@pytest.mark.parametrize(("verb", "what", "first"), [("server start", "noetl.server", 3), ("worker start", "noetl.worker", 1)])
@pytest.mark.timeout(LONGEST)
def test_ctrl_c_at_any_point_of_a_start(killed: Operator, verb: str, what: str, first: int, tmp_path: Path) -> None:
    if verb == "worker start":
        killed.ok("server", "start")
    ended, at = False, first
    while not ended:
        ended, point = to_a_point(killed, verb, at, signal.SIGINT, tmp_path / "points")
        left = [one for one in killed.processes() if what in one.cmdline()]
        assert bool(left) == ended, point
        if verb == "server start":
            killed.ok("down")
            assert killed.processes() == [], point
        at += STRIDE
    assert at > first + STRIDE, "it was interrupted once at least"
    killed.ok("down")


def to_a_point(operator: Operator, verb: str, at: int, with_: signal.Signals, points: Path) -> tuple[bool, str]:
    """Run a verb, which gets a signal before the N-th thing that it does; tell whether it came to its end, and what it was about to do."""
    words = [sys.executable, "-c", VERB, str(at), str(int(with_)), str(points), *verb.split()]
    done = subprocess.run(
        words, cwd=operator.folder, env=operator.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    listed = points.read_text().splitlines()
    point = f"{verb} got {with_.name} before: {listed[min(at, len(listed)) - 1]}\n{done.stdout}{done.stderr}"
    assert done.returncode in (0, -signal.SIGKILL if with_ == signal.SIGKILL else 130), point
    assert "Traceback" not in done.stderr, point
    return done.returncode == 0, point


@pytest.mark.timeout(LONGEST)
def test_a_first_start_is_killed_at_any_point(tmp_path: Path) -> None:
    ended, at = False, 2
    while not ended:
        one = Operator(tmp_path / "home", ports.free(), tmp_path)
        ended, point = to_a_point(one, "up", at, signal.SIGKILL, tmp_path / "points")
        after = one.run("up")
        assert after.returncode == 0, f"{point}\nthen up: {after.stdout}{after.stderr}"
        assert one.ok("doctor")
        one.ok("down")
        assert [(left.pid, left.cmdline()) for left in one.processes()] == [], point
        shutil.rmtree(one.home)
        at += 2 * STRIDE


def test_a_first_start_is_killed_while_the_database_is_made(killed: Operator, tmp_path: Path) -> None:
    killed.home, settled = tmp_path / "fresh", killed.home
    try:
        with killed.popen("up") as verb:
            wait_for(lambda: [one for one in killed.processes() if one.name() == "initdb"])
            verb.kill()
        everything_runs(killed)
        killed.ok("down")
        assert killed.processes() == []
    finally:
        killed.run("down", "--force")
        killed.home = settled


def test_a_server_is_killed_while_it_is_stopped(killed: Operator) -> None:
    everything_runs(killed)
    pid = killed.services()["server"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    with killed.popen("server", "stop", "--timeout", "60") as verb:
        assert verb.stderr is not None
        assert "stopping" in verb.stderr.readline()
        os.kill(pid, signal.SIGKILL)
        out, err = verb.communicate(timeout=60)
    assert verb.returncode == 0, out + err
    assert f"server: stopped (pid {pid})" in out
    everything_runs(killed)
    killed.ok("down")


@pytest.mark.parametrize("words", ["up --foreground", "server start --foreground", "worker start --foreground"])
def test_the_heir_of_a_verb_in_front_is_killed(killed: Operator, words: str) -> None:
    name = {"up": "worker worker-1", "server": "server", "worker": "worker worker-1"}[words.split()[0]]
    for alone in (True, False):
        if words.startswith("worker"):
            killed.ok("server", "start")
        with killed.popen(*words.split(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as front:
            wait_for(lambda: killed.services().get(name, {}).get("state") == "running")
            (heir,) = [one for one in psutil.Process(front.pid).children() if "noetl.cli" in one.cmdline()]
            heir.kill()
            if alone:
                front.send_signal(signal.SIGINT)
            else:
                front.kill()
            code = front.wait(60)
        assert code in ((130, 0) if alone else (-signal.SIGKILL,))
        killed.ok("down")
        assert killed.processes() == []


def test_ctrl_c_while_workers_are_stopped_ends_the_verb_alone(killed: Operator) -> None:
    killed.ok("up", "--workers", "2")
    pids = [row["pid"] for name, row in killed.services().items() if name.startswith("worker")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    # The verb would wait for longer than this test may take.
    with killed.popen("worker", "stop", "--all", "--timeout", "3600") as verb:
        assert verb.stderr is not None
        assert "stopping" in verb.stderr.readline()
        verb.send_signal(signal.SIGINT)
        out, err = verb.communicate(timeout=60)
    assert verb.returncode == 130, out + err
    assert "Traceback" not in err
    assert all(psutil.pid_exists(pid) for pid in pids)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    killed.ok("down")
