"""Daemons of this machine: start one, know it again, stop all of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import psutil

from noetl import home as files
from noetl.errors import NoetlError, UsageError

Progress = Callable[[str], None]
One = TypeVar("One")
Result = TypeVar("Result")
STOP_TIMEOUT = 10.0
STDOUT = "stdout"
"""What stands in the place of a log file where a process writes to what it was started in."""

_CLOCK_STEP = 2.0
# Waits for a line, then is what follows; ends where none comes.
_GATE = ("/bin/sh", "-c", 'read -r go && exec "$0" "$@" </dev/null')


@dataclass(frozen=True)
class Record:
    """What is written down about a daemon: enough to tell it from a stranger that got its PID.

    `left` has the PID and start time of each process that outlived an attempt to stop it.
    """

    service: str
    pid: int
    create_time: float
    runs: tuple[str, ...]
    log: str
    started_at: float
    port: int | None = None
    url: str | None = None
    version: str | None = None
    left: tuple[tuple[int, float], ...] = ()

    @property
    def title(self) -> str:
        """Its name as people read it: `worker worker-1` for the service `worker_worker-1`."""
        return self.service.replace("_", " ", 1)


@dataclass(frozen=True)
class Usage:
    """What a live process takes: seconds since its start and bytes of memory, its children's included."""

    uptime: float
    memory: int


def together(work: Callable[[One], Result], items: Sequence[One]) -> list[Result]:
    """Do work on each item at the same time and return what comes of it; the first that failed raises when all have ended.

    Ctrl-C ends the wait at once: what is under way is then cut off as by the end of this process.
    """
    if len(items) == 1:
        return [work(items[0])]
    done: dict[int, Result] = {}
    failed: dict[int, BaseException] = {}

    def do(number: int, item: One) -> None:
        try:
            done[number] = work(item)
        except BaseException as error:
            failed[number] = error

    # Not a pool's, for which the interpreter waits at its end.
    threads = [threading.Thread(target=do, args=numbered, daemon=True) for numbered in enumerate(items)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, error in sorted(failed.items(), key=lambda one: one[0]):
        raise error
    return [done[number] for number in range(len(items))]


def quiet(_message: str) -> None:
    """Report progress to nobody."""


def spawn(
    home: Path,
    service: str,
    argv: Sequence[str],
    *,
    runs: Sequence[str],
    cwd: Path,
    environ: Mapping[str, str],
    log: Path | None,
    version: str,
    port: int | None = None,
    url: str | None = None,
    owner: int | None = None,
) -> Record:
    """Start a daemon that outlives this process: a session of its own, no terminal, output to the log file or to our own.

    It runs nothing before its PID file is written: whoever is killed in the middle of this leaves no process that nobody knows.
    """
    with contextlib.ExitStack() as opened:
        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = opened.enter_context(log.open("ab"))
        child = subprocess.Popen(
            [*_GATE, *argv],
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
        )
    try:
        assert child.stdin is not None
        with child.stdin as gate:
            process = psutil.Process(child.pid)
            entry = record(service, process, runs=runs, log=log, port=port, url=url, version=version)
            write(home, entry)
            with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile, which is seen by whoever waits for it
                gate.write(b"go\n")
    finally:
        child.returncode = 0  # Popen would warn that its child still runs: that is what a daemon is for
    with contextlib.suppress(psutil.Error):
        while process.status() != psutil.STATUS_ZOMBIE and _words(process)[: len(_GATE)] == list(_GATE):
            time.sleep(0.001)
    return entry


def record(
    service: str, process: psutil.Process, *, runs: Sequence[str], log: Path | None, port: int | None, url: str | None, version: str
) -> Record:
    """Describe a daemon."""
    started = process.create_time()
    return Record(service, process.pid, started, tuple(runs), str(log) if log else STDOUT, started, port, url, version)


def write(home: Path, entry: Record) -> None:
    """Write a daemon's PID file (the PID as plain text) and what else is known about it beside it."""
    files.write_private(_sidecar(home, entry.service), json.dumps(asdict(entry)))
    files.write_private(files.pid_file(home, entry.service), f"{entry.pid}\n")


def read(home: Path, service: str, runs: Sequence[str]) -> Record | None:
    """Return what the PID file and its sidecar say, whether or not that process still lives."""
    try:
        pid = int(files.pid_file(home, service).read_text())
    except (OSError, ValueError):
        return None
    if pid <= 0:
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        document = json.loads(_sidecar(home, service).read_text())
        if document["pid"] == pid:
            left = tuple((int(one), float(created)) for one, created in document.pop("left", ()))
            return Record(**{**document, "runs": tuple(document["runs"]), "left": left})
    log = str(files.log_file(home, service))
    with contextlib.suppress(OSError, psutil.Error, ValueError):
        created = psutil.Process(pid).create_time()
        found = Record(service, pid, created, tuple(runs), log, created)
        # Without the sidecar, a process that is younger than its PID file got a PID that was another's.
        if created <= files.pid_file(home, service).stat().st_mtime + _CLOCK_STEP and is_alive(found):
            return found
    return Record(service, pid, 0.0, tuple(runs), log, 0.0)


def find(home: Path, service: str, runs: Sequence[str]) -> Record | None:
    """Return the live daemon of that name, or None; files that name a dead process or a stranger are removed."""
    seen = _text(home, service)
    if seen is None:
        return None
    entry = read(home, service, runs)
    if entry is not None and is_alive(entry):
        return entry
    # A start may have written its own files since: those stay.
    if _text(home, service) == seen:
        forget(home, service)
    return None


def adopt(home: Path, service: str, pid: int, runs: Sequence[str], *, port: int | None, url: str | None, version: str) -> Record | None:
    """Write the PID file anew for a daemon that runs without one; None if that PID does not run it."""
    try:
        process = psutil.Process(pid)
        entry = record(service, process, runs=runs, log=files.log_file(home, service), port=port, url=url, version=version)
    except psutil.Error:
        return None
    if not is_alive(entry):
        return None
    write(home, entry)
    return entry


def forget(home: Path, service: str) -> None:
    """Remove a daemon's PID file and its sidecar."""
    _sidecar(home, service).unlink(missing_ok=True)
    files.pid_file(home, service).unlink(missing_ok=True)


def is_alive(entry: Record) -> bool:
    """Tell whether the process is still the one recorded: its PID, the kernel's start time, and what it runs."""
    try:
        process = psutil.Process(entry.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if abs(process.create_time() - entry.create_time) > _CLOCK_STEP:
            return False
        words = _words(process)
    except psutil.Error:
        return False
    return all(any(word == part or word.endswith(f"/{part}") for word in words) for part in entry.runs)


def is_suspended(entry: Record) -> bool:
    """Tell whether a live daemon was stopped by a signal (SIGSTOP, Ctrl-Z) or a debugger."""
    try:
        return psutil.Process(entry.pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def going_on(entry: Record) -> str:
    """Return what to type to let a suspended daemon go on."""
    return f"kill -CONT {entry.pid}"


def usage(entry: Record) -> Usage | None:
    """Return what a live daemon takes, None if it just ended."""
    memory = 0
    try:
        family = tree(entry)
        for process in family:
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
    except psutil.Error:
        return None
    return Usage(max(0.0, time.time() - entry.started_at), memory)


def tree(entry: Record) -> list[psutil.Process]:
    """Return the daemon's processes: itself, its descendants, and whatever else is of its session."""
    members: set[psutil.Process] = set()
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(entry.pid)
        if is_alive(entry):
            members = {leader, *leader.children(recursive=True)} | session(entry)
        elif leader.create_time() == entry.create_time and leader.status() == psutil.STATUS_ZOMBIE:
            members = session(entry)
    for pid, created in entry.left:
        with contextlib.suppress(psutil.Error):
            if (process := psutil.Process(pid)).create_time() == created:
                members.add(process)
    return [process for process in members if runs_still(process)]


def stop(
    home: Path,
    service: str,
    runs: Sequence[str],
    *,
    again: str,
    timeout: float = STOP_TIMEOUT,
    force: bool = False,
    progress: Progress = quiet,
    ask: signal.Signals = signal.SIGTERM,
    busy: Callable[[], str] = str,
) -> Record | None:
    """Stop a daemon and verify that its whole tree is gone; None if nothing ran.

    It is asked to end itself and waited for; what is left after the timeout is killed with `force`, otherwise an error
    says what still runs and which command (`again`) kills it. `busy` says what the daemon is at meanwhile.
    """
    if not timeout >= 0:
        raise UsageError(f"{timeout:g} s is no time to wait for {service}", "--timeout 10")
    entry = read(home, service, runs)
    if entry is None:
        forget(home, service)
        return None
    members = set(tree(entry))
    if not members:
        forget(home, service)
        return None
    leader = {process for process in members if process.pid == entry.pid}
    for process in leader or members:
        with contextlib.suppress(psutil.Error):
            process.send_signal(ask)
    left = _wait_gone(entry, members, timeout, progress, busy)
    if left and force:
        progress(f"{entry.title}: killing {_processes(len(left))} that did not end in {timeout:g} s")
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        left = _wait_gone(entry, left, 5.0, quiet, str)
    if left:
        write(home, replace(entry, left=tuple((process.pid, process.create_time()) for process in left)))
        names = ", ".join(f"{process.pid}" for process in sorted(left, key=lambda one: one.pid))
        raise NoetlError(f"{entry.title} (pid {entry.pid}) still runs after {timeout:g} s: pid {names}", f"kill it: {again} --force")
    forget(home, service)
    return entry


def wait_ready(entry: Record, answers: Callable[[], bool], *, timeout: float, log_from: int, progress: Progress = quiet) -> None:
    """Wait until a daemon serves; if it ends or does not answer in time, raise with its last log lines."""
    started = time.monotonic()
    said = 0
    while not answers():
        waited = time.monotonic() - started
        if not is_alive(entry):
            raise NoetlError(f"{entry.title} ended while it started{_ending(entry)}\n{_said(entry, log_from)}", _where(entry))
        if waited > timeout:
            hint = f"let it go on: {going_on(entry)}" if is_suspended(entry) else _where(entry)
            raise NoetlError(f"{entry.title} (pid {entry.pid}) does not serve after {timeout:g} s\n{_said(entry, log_from)}", hint)
        if waited >= said + 2:
            said += 2
            how = f"it is suspended, let it go on: {going_on(entry)}, " if is_suspended(entry) else ""
            progress(f"{entry.title}: waiting until it is ready ({how}{said} s)")
        time.sleep(0.02)


def log_size(log: Path) -> int:
    """Return the size of a log file now: where the next start's lines begin."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, after: int = 0, lines: int = 20) -> str:
    """Return a log's last lines, of those after the position `after`, indented."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(after if after <= size else 0, size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return "  (it wrote no log)"
    last = text.splitlines()[-lines:]
    return "\n".join(f"  | {line}" for line in last) or "  (it wrote nothing to its log)"


def runs_still(process: psutil.Process) -> bool:
    """Tell whether a process still runs; a dead one that nobody has waited for does not."""
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return bool(process.is_running())
        process.wait(timeout=0)  # reaps it where it is a child of ours
    except psutil.Error:
        pass
    return False


def wait_gone(processes: Iterable[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait until these have ended, and return those that have not."""
    until = time.monotonic() + timeout
    left = list(processes)
    while (left := [process for process in left if runs_still(process)]) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def _said(entry: Record, log_from: int) -> str:
    return "  (it stays in front, and logs there)" if entry.log == STDOUT else tail(Path(entry.log), log_from)


def _where(entry: Record) -> str:
    return "see the output of what started it" if entry.log == STDOUT else f"all of its log: {entry.log}"


def _ending(entry: Record) -> str:
    """Say how a child of ours ended."""
    with contextlib.suppress(OSError):
        # What it runs is gone from the kernel's tables a moment before it can be waited for.
        for _ in range(100):
            pid, status = os.waitpid(entry.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return f": exit code {code}" if code >= 0 else f": killed by {signal.Signals(-code).name}"
            time.sleep(0.01)
    return ""


def session(entry: Record) -> set[psutil.Process]:
    """Return what is left in a daemon's session, whether or not the daemon is."""
    found = set()
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == entry.pid:
                found.add(psutil.Process(pid))
    return found


def _wait_gone(
    entry: Record, members: set[psutil.Process], timeout: float, progress: Progress, busy: Callable[[], str]
) -> set[psutil.Process]:
    started = time.monotonic()
    said = 0
    members = set(members)
    while True:
        # The kernel gives no new process a PID that a session still uses, so what is in that session is the daemon's.
        members |= session(entry)
        members = {process for process in members if runs_still(process)}
        waited = time.monotonic() - started
        if not members or waited >= timeout:
            return members
        if waited >= said + 1:
            said += 1
            at = busy()
            progress(f"{entry.title}: stopping, {f'{at}, ' if at else ''}{_processes(len(members))} left ({said} s)")
        time.sleep(0.02 if waited < 1 else 0.1)


def _words(process: psutil.Process) -> list[str]:
    """Return a process's command line, for which the kernel has none for a moment while it begins to run another program."""
    for _ in range(20):
        if words := process.cmdline():
            return words
        time.sleep(0.001)
    return []


def _text(home: Path, service: str) -> str | None:
    try:
        return files.pid_file(home, service).read_text(errors="replace")
    except OSError:
        return None


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _sidecar(home: Path, service: str) -> Path:
    return files.pid_file(home, service).with_suffix(".json")
