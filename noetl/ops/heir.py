"""What a verb that stays in front leaves behind if it is killed by what nobody can catch: an heir stops it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from noetl.ops import foreground, process
from noetl.ops.process import Record

Inherit = Callable[[Record], None]
_DONE = b"done\n"


@contextlib.contextmanager
def waiting(home: Path) -> Iterator[Inherit]:
    """Yield what names a daemon to a process that waits beside this one, and stops those named if this one dies within the block."""
    if foreground.is_first():
        # The kernel ends all of a container with its first process.
        yield lambda _entry: None
        return
    told, tell = os.pipe()
    heir = os.fork()
    if heir == 0:
        try:
            os.close(tell)
            _wait(home, told)
        finally:
            os._exit(0)
    os.close(told)
    try:
        yield lambda entry: _tell(tell, f"{json.dumps([entry.service, entry.pid, entry.runs])}\n".encode())
    finally:
        _tell(tell, _DONE)
        os.close(tell)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(heir, 0)


def _tell(pipe: int, line: bytes) -> None:
    # An heir that somebody killed is told nothing more.
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, line)


def _wait(home: Path, told: int) -> None:
    os.setsid()  # what a terminal sends is not for the heir
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(told, "rb") as pipe:
        lines = pipe.readlines()
    if _DONE in lines:
        return
    for service, pid, runs in map(json.loads, reversed(lines)):
        entry = process.read(home, service, runs)
        if entry is not None and entry.pid == pid:
            _stop(home, entry)


def _stop(home: Path, entry: Record) -> None:
    from noetl.ops import postgres

    if entry.service == postgres.SERVICE:
        postgres.stop(home, force=True)
    else:
        process.stop(home, entry.service, entry.runs, again="noetl down", force=True)
