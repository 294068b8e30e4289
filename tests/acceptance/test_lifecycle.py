"""Processes of one machine as a tired operator treats them: killed, started twice, in the wrong order, with Ctrl-C in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acceptance_home import Operator


def test_a1_a_killed_server_starts_again_without_cleaning(operator: Operator) -> None:
    operator.ok("server", "start", "--init-db")
    before = operator.services()["server"]["pid"]
    os.kill(before, signal.SIGKILL)
    assert "ready at" in operator.ok("server", "start")
    assert operator.services()["server"]["pid"] != before


def test_a2_a_pid_file_that_names_a_stranger(operator: Operator) -> None:
    operator.home.mkdir()
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
    assert "ended while it started" in started.stderr
    assert "  | " in started.stderr
    assert str(operator.home / "logs" / "server.log") in started.stderr
    assert not (operator.home / "noetl_server.pid").exists()
    operator.more = {}


def test_a7_stop_with_an_open_event_stream_is_quick(operator: Operator, playbook: Path) -> None:
    operator.ok("up")
    execution_id = operator.ok("run", str(playbook), "--set", "pause=60", "--detach").strip()
    with operator.popen("execution", "follow", execution_id) as follower:
        time.sleep(1)
        begun = time.monotonic()
        operator.ok("server", "stop")
        assert time.monotonic() - begun < 3.5
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=10)
        assert follower.returncode == 130


def test_a8_a_taken_port_names_its_holder(operator: Operator) -> None:
    with socket.create_server(("127.0.0.1", operator.port)):
        started = operator.run("server", "start")
    assert started.returncode == 1
    assert f"port {operator.port} is taken by pid {os.getpid()}" in started.stderr
    assert operator.processes() == []


def test_a9_logs_rotate_and_are_followed(operator: Operator) -> None:
    operator.more = {"NOETL_LOG_SIZE": "3000", "NOETL_LOG_COUNT": "2", "NOETL_LOG_FORMAT": "json"}
    operator.ok("server", "start", "--init-db")
    log = operator.home / "logs" / "server.log"
    assert json.loads(log.read_text().splitlines()[-1])["message"].startswith("noetl ")
    with operator.popen("server", "logs", "-f", "--lines", "0") as follower, log.open("a") as writer:
        assert follower.stdout is not None
        time.sleep(1)
        for number in range(300):
            print(f"line {number} of somebody who holds the file open", file=writer, flush=True)
            time.sleep(0.02)
        said = [follower.stdout.readline() for _ in range(300)]
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=10)
    assert [int(line.split()[1]) for line in said] == list(range(300))
    kept = sorted(path.name for path in log.parent.glob("server.log*"))
    assert kept == ["server.log", "server.log.1", "server.log.2"]
    os.kill(operator.services()["server"]["pid"], signal.SIGKILL)
    operator.ok("server", "start")
    assert "is ready at" in operator.ok("server", "logs", "--since", "1m")
    assert operator.ok("server", "logs", "--since", "2099-01-01") == ""
    assert operator.run("server", "logs", "--since", "yesterday").returncode == 2
