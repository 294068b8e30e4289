"""A process that stays in front: signals go on to the one behind it, whose end is its own; the dead are buried, as PID 1 has to."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

import psutil

from noetl.ops import process
from noetl.ops.process import Record

# A terminal that goes away, or Ctrl-\, is to drain as well: what they do by themselves would not.
_SENT_ON = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGQUIT: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGUSR1,
    signal.SIGUSR2: signal.SIGUSR2,
}


class Already(Exception):
    """Another process is what was to be started."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.pid)
        self.record = record


def is_first() -> bool:
    """Tell whether this process is a container's first one."""
    return os.getpid() == 1


def stay(start: Callable[[], Record]) -> int:
    """Start a process and stay until it ends; return its exit code, 128 and the signal's number where one killed it."""
    early: list[signal.Signals] = []
    behind: list[int] = []

    def send_on(number: int, _frame: FrameType | None) -> None:
        told = _SENT_ON[signal.Signals(number)]
        if not behind:
            early.append(told)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(behind[0], told)

    with _handled(send_on):
        entry = start()
        behind.append(entry.pid)
        for told in early:
            os.kill(entry.pid, told)
        code = _reap_until(entry.pid)
        for left in process.session(entry):
            with contextlib.suppress(psutil.Error):
                left.kill()
    return code


def _reap_until(pid: int) -> int:
    """Wait for whatever ends, ours or left to us, until this one has."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SENT_ON}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
