"""Daemons on real processes: started, known again, stopped whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from noetl import home as files
from noetl.errors import NoetlError, UsageError
from noetl.ops import process
from noetl.ops.process import Record

CHILDREN = "import subprocess,sys,time; subprocess.Popen(['sleep','61']); print('up', flush=True); time.sleep(61)"
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(61)"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Record]]:
    entries: list[Record] = []
    yield entries
    for entry in entries:
        for member in process.tree(entry):
            member.kill()


def launch(home: Path, entries: list[Record], program: str) -> Record:
    log = files.log_file(home, "thing")
    argv = [sys.executable, "-c", program]
    entry = process.spawn(home, "thing", argv, runs=("-c", program), cwd=home, environ=dict(os.environ), log=log, version="1")
    entries.append(entry)
    process.wait_ready(entry, lambda: "up\n" in log.read_text(), timeout=5, log_from=0)
    return entry


def test_a_daemon_has_a_session_a_log_and_a_pid_file(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, CHILDREN)
    assert os.getsid(entry.pid) == entry.pid
    assert (tmp_path / "noetl_thing.pid").read_text() == f"{entry.pid}\n"
    assert Path(entry.log).read_text() == "up\n"
    assert Path(f"/proc/{entry.pid}/cwd").resolve() == tmp_path.resolve()
    assert process.find(tmp_path, "thing", entry.runs) == entry
    taken = process.usage(entry)
    assert taken is not None
    assert taken.memory > 1_000_000


def test_stop_ends_the_whole_tree(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, CHILDREN)
    pids = [member.pid for member in process.tree(entry)]
    assert len(pids) == 2
    # The child ignores nothing but is not told either: only the daemon itself gets the signal.
    with pytest.raises(NoetlError, match="still runs after"):
        process.stop(tmp_path, "thing", entry.runs, again="noetl thing stop", timeout=0.3)
    assert process.stop(tmp_path, "thing", entry.runs, again="noetl thing stop", timeout=0.3, force=True) is not None
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert not list(tmp_path.glob("noetl_thing.*"))


def test_one_that_does_not_end_is_killed_only_by_force(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, STUBBORN)
    with pytest.raises(NoetlError) as caught:
        process.stop(tmp_path, "thing", entry.runs, again="noetl thing stop", timeout=0.3)
    assert caught.value.hint == "kill it: noetl thing stop --force"
    assert caught.value.exit_code == 1
    assert process.is_alive(entry)
    said: list[str] = []
    assert process.stop(tmp_path, "thing", entry.runs, again="x", timeout=0.3, force=True, progress=said.append) is not None
    assert said == ["thing: killing 1 process that did not end in 0.3 s"]
    assert not process.is_alive(entry)


def test_a_stranger_with_the_recorded_pid_is_never_touched(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        files.pid_file(tmp_path, "server").write_text(f"{stranger.pid}\n")
        assert process.find(tmp_path, "server", ("noetl.server",)) is None
        assert not files.pid_file(tmp_path, "server").exists()
        files.pid_file(tmp_path, "server").write_text(f"{stranger.pid}\n")
        assert process.stop(tmp_path, "server", ("noetl.server",), again="x", force=True, timeout=0.1) is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_same_command_with_another_start_time_is_a_stranger(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, CHILDREN)
    from dataclasses import replace

    older = replace(entry, create_time=entry.create_time - 60)
    process.write(tmp_path, older)
    assert not process.is_alive(older)
    assert process.stop(tmp_path, "thing", entry.runs, again="x", timeout=0.1, force=True) is None
    assert process.is_alive(entry)


def test_files_of_a_dead_process_are_removed(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, STUBBORN)
    os.kill(entry.pid, signal.SIGKILL)
    until = time.monotonic() + 2
    while process.is_alive(entry) and time.monotonic() < until:
        time.sleep(0.01)
    assert process.find(tmp_path, "thing", entry.runs) is None
    assert not list(tmp_path.glob("noetl_thing.*"))


def test_what_a_killed_daemon_left_running_is_stopped(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, CHILDREN)
    orphan = next(member for member in process.tree(entry) if member.pid != entry.pid)
    os.kill(entry.pid, signal.SIGKILL)
    time.sleep(0.05)
    assert process.stop(tmp_path, "thing", entry.runs, again="x", timeout=2) == entry
    assert not process.runs_still(orphan)


@pytest.mark.parametrize("content", ["", "nonsense\n", "-1\n", "99999999\n"])
def test_a_broken_pid_file_is_no_obstacle(tmp_path: Path, content: str) -> None:
    files.pid_file(tmp_path, "thing").write_text(content)
    assert process.find(tmp_path, "thing", ("x",)) is None
    assert process.stop(tmp_path, "thing", ("x",), again="x") is None
    assert not files.pid_file(tmp_path, "thing").exists()


def test_a_daemon_that_ends_while_it_starts_shows_its_last_lines(tmp_path: Path) -> None:
    log = files.log_file(tmp_path, "thing")
    log.parent.mkdir()
    log.write_text("a line of an earlier start\n")
    before = process.log_size(log)
    argv = [sys.executable, "-c", "raise SystemExit('no database')"]
    entry = process.spawn(tmp_path, "thing", argv, runs=("-c",), cwd=tmp_path, environ={}, log=log, version="1")
    with pytest.raises(NoetlError) as caught:
        process.wait_ready(entry, lambda: False, timeout=5, log_from=before)
    assert caught.value.message == "thing ended while it started: exit code 1\n  | no database"
    assert str(log) in caught.value.hint


def test_a_daemon_that_never_serves_is_said_to_do_so(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, STUBBORN)
    with pytest.raises(NoetlError, match=r"does not serve after 0.1 s"):
        process.wait_ready(entry, lambda: False, timeout=0.1, log_from=0)


def test_adopting_needs_the_right_program(tmp_path: Path, started: list[Record]) -> None:
    entry = launch(tmp_path, started, CHILDREN)
    process.forget(tmp_path, "thing")
    assert process.adopt(tmp_path, "thing", entry.pid, ("noetl.server",), port=1, url=None, version="1") is None
    found = process.adopt(tmp_path, "thing", entry.pid, entry.runs, port=1, url=None, version="1")
    assert found is not None
    assert found.pid == entry.pid


def test_a_time_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-1 s is no time to wait"):
        process.stop(tmp_path, "one", ("x",), again="again", timeout=-1)
