"""Processes of one machine as a tired operator treats them: killed, started twice, in the wrong order, with Ctrl-C in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

import psutil
import pytest
from acceptance_home import Operator

from noetl.ops import ports


@pytest.fixture
def operator(settled: Operator) -> Operator:
    """The database is made already: these are about processes."""
    return settled


def test_a1_a_killed_server_starts_again_without_cleaning(operator: Operator) -> None:
    operator.ok("server", "start", "--init-db")
    before = operator.services()["server"]["pid"]
    os.kill(before, signal.SIGKILL)
    assert "ready at" in operator.ok("server", "start")
    assert operator.services()["server"]["pid"] != before


def test_a2_a_pid_file_that_names_a_stranger(operator: Operator) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        file = operator.home / "noetl_server.pid"
        file.write_text(f"{stranger.pid}\n")
        assert operator.ok("server", "stop", "--force") == "server: was not running\n"
        file.write_text(f"{stranger.pid}\n")
        operator.ok("server", "start", "--init-db")
        assert int(file.read_text()) != stranger.pid
        operator.ok("server", "stop")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a3_two_starts_at_the_same_moment_make_one_server(operator: Operator) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: operator.ok("server", "start", "--init-db"), range(2)))
    pid = operator.services()["server"]["pid"]
    assert all(f"pid {pid}" in line for line in said)
    assert sum("already running" in line for line in said) == 1
    assert len([one for one in operator.processes() if "noetl.server" in one.cmdline()]) == 1


def test_a4_a_database_that_does_not_answer(operator: Operator) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        operator.more = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(unused.getsockname()[1])}
        started = operator.run("server", "start", "--init-db")
    assert started.returncode == 1
    assert "ended while it started: exit code 1" in started.stderr
    assert "  | " in started.stderr
    assert str(operator.home / "logs" / "server.log") in started.stderr
    assert not (operator.home / "noetl_server.pid").exists()
    operator.more = {}


def test_a5_after_a_stop_no_process_of_the_tree_is_left(operator: Operator, playbook: Path) -> None:
    operator.ok("up")
    operator.ok("run", str(playbook), "--set", "pause=60", "--detach")
    wait_for(lambda: operator.services()["worker worker-1"]["running"])
    # The steps' children, their zygote, the server's evaluator, the database's backends: more than the four that are named.
    assert len(operator.processes()) > 8
    stopped = operator.run("worker", "stop")
    assert stopped.returncode == 0
    assert "running, " in stopped.stderr, "the progress line says what the worker is at"
    assert not [one for one in operator.processes() if "noetl.worker" in " ".join(one.cmdline())]
    operator.ok("down")
    assert operator.processes() == []


@pytest.mark.parametrize("words", ["up --foreground", "server start --foreground --init-db"])
def test_a6_ctrl_c_in_the_foreground_stops_all_of_it(operator: Operator, words: str) -> None:
    with operator.popen(*words.split(), start_new_session=True, stderr=subprocess.STDOUT) as front:
        assert front.stdout is not None
        name = "worker worker-1" if words.startswith("up") else "server"
        wait_for(lambda: operator.services().get(name, {}).get("state") == "running")
        assert "already running" in operator.ok("server", "start")
        os.killpg(front.pid, signal.SIGINT)
        said, _ = front.communicate(timeout=60)
    assert "is ready at" in said
    assert "Traceback" not in said
    assert front.returncode == (130 if words.startswith("up") else 0)
    assert operator.processes() == []
    assert list(operator.home.glob("*.pid")) == []


@pytest.mark.parametrize("words", ["up --foreground", "server start --foreground --init-db", "worker start --foreground --name front"])
def test_nothing_is_left_of_a_foreground_verb_that_is_killed(operator: Operator, words: str) -> None:
    name = {"up": "worker worker-1", "server": "server", "worker": "worker front"}[words.split()[0]]
    if name == "worker front":
        operator.ok("server", "start", "--init-db")
    before = {one.pid for one in operator.processes()}
    said = operator.folder / "said"
    with said.open("w") as out, operator.popen(*words.split(), start_new_session=True, stdout=out, stderr=subprocess.DEVNULL) as front:
        wait_for(lambda: operator.services().get(name, {}).get("state") == "running")
        # `up --foreground` prints logs once it has started everything.
        wait_for(said.read_text)
        front.kill()
        front.wait()
    wait_for(lambda: not [one for one in operator.processes() if one.pid not in before])
    assert name not in {row for row, shown in operator.services().items() if shown["state"] != "stopped"}
    assert len(list(operator.home.glob("*.pid"))) == (3 if name == "worker front" else 0)


def test_a7_an_open_event_stream_does_not_delay_a_stop(operator: Operator, playbook: Path) -> None:
    operator.ok("up")
    execution_id = operator.ok("run", str(playbook), "--set", "pause=60", "--detach").strip()
    with operator.popen("execution", "follow", execution_id) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline(), "it follows"
        operator.ok("server", "stop")
        # What is still open when the server's patience (2 s) is over is cut off, and it says so: here nothing was.
        log = (operator.home / "logs" / "server.log").read_text()
        assert "the server stops" in log
        assert "timeout graceful shutdown exceeded" not in log
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=10)
        assert follower.returncode == 130


def test_a8_a_taken_port_names_its_holder(operator: Operator) -> None:
    # Below those that the kernel gives away: the one above stays free.
    operator.port = ports.next_free("127.0.0.1", 20_000 + os.getpid() % 10_000)
    with socket.create_server(("127.0.0.1", operator.port)):
        started = operator.run("server", "start")
    assert started.returncode == 1
    assert f"port {operator.port} is taken by pid {os.getpid()}" in started.stderr
    assert operator.processes() == []
    hint = re.search(r"export NOETL_PORT=(\d+), or noetl (server start --port \d+)$", started.stderr, re.MULTILINE)
    assert hint is not None
    operator.ok("db", "init")
    operator.ok(*hint[2].split())
    assert operator.services()["server"]["port"] == int(hint[1])
    with socket.create_server(("127.0.0.1", operator.port)):
        checks = {one["name"]: one for one in json.loads(operator.ok("doctor", "--json"))["checks"]}
        assert f"already running, pid {operator.services()['server']['pid']}, " in operator.ok("up")
    assert checks["port"]["text"].startswith(f"127.0.0.1:{hint[1]} is held by this home's server")
    assert checks["server"]["text"].endswith(f" at http://127.0.0.1:{hint[1]}")


def test_a9_logs_rotate_and_are_followed(operator: Operator) -> None:
    operator.more = {"NOETL_LOG_SIZE": "3000", "NOETL_LOG_COUNT": "2", "NOETL_LOG_FORMAT": "json"}
    operator.ok("server", "start", "--init-db")
    log = operator.home / "logs" / "server.log"
    assert json.loads(log.read_text().splitlines()[-1])["message"].startswith("noetl ")
    with operator.popen("server", "logs", "-f", "--lines", "0") as follower, log.open("a") as writer:
        assert follower.stdout is not None
        follows(follower, writer)
        written = 0
        # More than any file holds, until the oldest one that is kept has been followed by another.
        while not log.with_name("server.log.2").exists() or written < 300:
            print(f"line {written} of somebody who holds the file open", file=writer, flush=True)
            written += 1
            time.sleep(0.01)
        said = [follower.stdout.readline() for _ in range(written)]
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=10)
    assert [int(line.split()[1]) for line in said] == list(range(written))
    kept = sorted(path.name for path in log.parent.glob("server.log*"))
    assert kept == ["server.log", "server.log.1", "server.log.2"]
    os.kill(operator.services()["server"]["pid"], signal.SIGKILL)
    operator.ok("server", "start")
    assert "is ready at" in operator.ok("server", "logs", "--since", "1m")
    assert operator.ok("server", "logs", "--since", "2099-01-01") == ""
    assert operator.run("server", "logs", "--since", "yesterday").returncode == 2


def follows(follower: subprocess.Popen[str], writer: TextIO) -> None:
    """Write lines to a log until one of them has come to who follows it, and read the others."""
    assert follower.stdout is not None
    said = ""

    def shown() -> bool:
        print("hello", file=writer, flush=True)
        return bool(select.select([follower.stdout], [], [], 0)[0])

    wait_for(shown)
    print("begin", file=writer, flush=True)
    while not said.endswith("begin\n"):
        said = follower.stdout.readline()


def test_starts_in_the_same_millisecond(operator: Operator) -> None:
    operator.ok("db", "init")
    for _ in range(2):
        with ThreadPoolExecutor(6) as pool:
            said = list(pool.map(lambda _: operator.ok("server", "start"), range(6)))
        pid = operator.services()["server"]["pid"]
        assert all(f"pid {pid}" in line for line in said)
        assert sum("already running" in line for line in said) == 5
        os.kill(pid, signal.SIGKILL)


def test_a_second_start_waits_for_the_first(operator: Operator) -> None:
    operator.ok("db", "init")
    file = operator.home / "noetl_server.pid"
    for ending in (signal.SIGCONT, signal.SIGKILL):
        with operator.popen("server", "start") as first:
            wait_for(file.exists)
            pid = int(file.read_text())
            os.kill(pid, signal.SIGSTOP)
            with operator.popen("server", "start") as second:
                assert second.stderr is not None
                assert "another noetl starts or stops it, waiting" in second.stderr.readline()
                # Nobody is left who would stop what he started: the second one finds a server that is not ready.
                first.kill()
                assert f"waiting until it is ready (it is suspended, let it go on: kill -CONT {pid}, " in second.stderr.readline()
                os.kill(pid, ending)
                out, err = second.communicate(timeout=100)
        if ending == signal.SIGCONT:
            assert second.returncode == 0, err
            assert f"server: already running, pid {pid}, http://127.0.0.1:{operator.port}, since " in out
            operator.ok("server", "stop")
            continue
        assert second.returncode == 1
        assert "server ended while it started" in err
        assert "  | " in err, "its last log lines"
        assert str(operator.home / "logs" / "server.log") in err


def test_without_a_terminal(operator: Operator) -> None:
    for words in (["up"], ["ps"], ["worker", "start", "--name", "second"]):
        with operator.popen(*words, start_new_session=True) as verb:
            out, err = verb.communicate(timeout=60)
        assert verb.returncode == 0, out + err
    refused = operator.run("worker", "stop")
    assert refused.returncode == 2
    assert "second, worker-1" in refused.stderr
    assert "--all" in refused.stderr
    assert operator.run("down", "--volumes").returncode == 2
    assert len(operator.services()) == 5
    deleted = operator.ok("down", "--volumes", "--yes")
    assert str(operator.home / "postgres") in deleted
    assert not (operator.home / "postgres").exists()
    assert operator.ok("down", "--volumes", "--yes").endswith("there was no embedded data\n")
    operator.ok("up")


def test_at_a_terminal_it_asks(operator: Operator) -> None:
    operator.ok("up", "--workers", "2")
    assert "2 workers run here" in at_terminal(operator, ["worker", "stop"], "worker-2")
    assert set(operator.services()) == {"postgres", "nats", "server", "worker worker-1"}
    assert "nothing was stopped" in at_terminal(operator, ["down", "--volumes"], "n")
    assert len(operator.services()) == 4
    assert "deleted: " in at_terminal(operator, ["down", "--volumes"], "y")
    assert not (operator.home / "postgres").exists()


def test_what_does_not_end_is_killed_by_force_alone(operator: Operator) -> None:
    operator.ok("server", "start", "--init-db")
    pid = operator.services()["server"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    stopped = operator.run("server", "stop", "--timeout", "2")
    assert stopped.returncode == 1
    assert "noetl server stop --force" in stopped.stderr
    assert "stopping, " in stopped.stderr
    assert pid in [one.pid for one in operator.processes()]
    operator.ok("server", "stop", "--timeout", "1", "--force")
    assert pid not in [one.pid for one in operator.processes()]


def test_everything_fits_a_terminal(operator: Operator) -> None:
    operator.ok("up")
    for words in (["ps"], ["server", "status"], ["worker", "list"]):
        assert max(map(len, operator.ok(*words).split("\n\nlogs:")[0].splitlines())) <= 80, words
    operator.more = {"COLUMNS": "300"}
    assert str(operator.home / "logs" / "worker_worker-1.log") in operator.ok("ps").splitlines()[-1]
    operator.more = {}
    for row in operator.services().values():
        assert {"state", "pid", "uptime", "port", "version", "memory", "running", "log", "started_at", "url"} <= set(row)
    (served,) = json.loads(operator.ok("server", "status", "--json"))["servers"]
    assert served["memory"] > 1_000_000
    (listed,) = json.loads(operator.ok("worker", "list", "--json"))["workers"]
    assert (listed["running"], listed["slots"]) == (0, 16)
    assert listed["memory"] > 1_000_000
    os.kill(served["pid"], signal.SIGKILL)
    shown = operator.run("ps")
    assert "noetl_server.pid was of a process that is gone" in shown.stderr
    assert not (operator.home / "noetl_server.pid").exists()


def test_the_first_process_of_a_container(operator: Operator) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("LOUD SKIP: no namespace of processes can be made here")
    operator.ok("server", "start", "--init-db")
    inside = "import os, sys; os.execv(sys.executable, [sys.executable, '-m', 'noetl.cli', 'worker', 'start', '--name', 'first'])"
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", inside]
    with subprocess.Popen(command, cwd=operator.folder, env=operator.environ, stdout=subprocess.PIPE, text=True) as container:
        wait_for(lambda: "ready" in [one["status"] for one in json.loads(operator.ok("worker", "list", "--json"))["workers"]])
        (first,) = [one for one in operator.processes() if "noetl.cli" in one.cmdline() and "first" in one.cmdline() and is_first(one)]
        orphan = ["nsenter", "--pid", f"--target={first.pid}", "sh", "-c", "(sleep 0.2 &) ; exit 0"]
        before = {one.pid for one in first.children()}
        subprocess.run(orphan, check=True)
        wait_for(lambda: {one.pid for one in first.children()} == before)
        first.send_signal(signal.SIGTERM)
        said, _ = container.communicate(timeout=30)
    assert container.returncode == 0, said
    assert "worker" in said, "it logs to its standard output"
    assert not [one for one in operator.processes() if "first" in one.cmdline()]


def is_first(process: psutil.Process) -> bool:
    """Tell whether a process is the first one of its namespace."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"


def at_terminal(operator: Operator, words: list[str], answer: str) -> str:
    """Run a verb at a terminal, answer what it asks, and return all that it shows."""
    ours, theirs = os.openpty()
    with operator.popen(*words, stdin=theirs, stdout=theirs, stderr=theirs) as verb:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = b""
        # Linux ends a terminal whose last process is gone with an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part
        verb.wait(timeout=60)
    os.close(ours)
    return shown.decode()


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.3)


def test_a_disk_that_is_full_is_said_to_be_and_nothing_is_half(operator: Operator, made_before: Path) -> None:
    disk = operator.home.with_name("disk")
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("LOUD SKIP: this user cannot mount a small disk")
    home = operator.home
    try:
        operator.home = disk / "home"
        subprocess.run(["cp", "--archive", str(made_before), str(operator.home)], check=True)
        operator.ok("up")
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert "running" in operator.ok("ps")
        found = {one["name"]: one for one in json.loads(operator.run("doctor", "--json").stdout)["checks"]}
        assert found["disk"]["state"] == "bad"
        operator.ok("down")
        assert operator.processes() == []
        refused = operator.run("up")
        assert refused.returncode == 1
        assert "No space left on device" in refused.stderr
        assert "Traceback" not in refused.stderr
        operator.ok("down")
        assert operator.processes() == []
        assert not list(operator.home.glob(".noetl_*.*")), "nothing of a file that was begun"
        filler.unlink()
        operator.ok("up")
        operator.ok("down")
    finally:
        operator.run("down", "--force")
        operator.home = home
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_from_cron_without_a_terminal_and_almost_without_an_environment(operator: Operator) -> None:
    program = str(Path(sys.executable).parent / "noetl")
    environ = {
        "HOME": str(operator.home.parent),
        "NOETL_HOME": str(operator.home),
        "NOETL_PORT": str(operator.port),
        "NOETL_HOST": "127.0.0.1",
    }

    def cron(*words: str) -> str:
        done = subprocess.run(
            [program, *words],
            cwd="/",
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        assert "\x1b" not in done.stdout + done.stderr
        return done.stdout

    for _ in range(2):
        cron("up")
        del environ["HOME"]
        assert "already running" in cron("up")
        assert "worker-1" in cron("worker", "list")
        cron("down")
        assert cron("down") == "nothing was running\n"
        environ["HOME"] = str(operator.home.parent)
