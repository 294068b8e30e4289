"""What a child process is confined to, and putting back what a step has changed before the next one."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # what `signal` wraps: its own makes an enum of each answer, 8 µs a step
from pathlib import Path
from typing import Any, TextIO

from noetl.worker import process_tree

LOOP_THREADS = "noetl-loop"
"""Name prefix of the event loop's own threads, which may outlive a call."""
OUTPUT_LIMIT = 64 * 1024
_GROWTH = 256 * 1024**2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


def confine(memory: int) -> None:
    """Limit this process's memory, and make it the first to go when the machine itself runs out."""
    which = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (memory, memory))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def quiet_signals() -> None:
    """Let SIGTERM and SIGINT meant for the worker pass: it ends its children itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignore)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Output:
    """Standard output and error of this process and of whatever it starts: a file, which the worker reads if this process dies."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        for standard in (1, 2):
            os.dup2(self._descriptor, standard)
        self.stream: TextIO = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        self.install()

    def install(self) -> None:
        """Make it sys.stdout and sys.stderr."""
        sys.stdout = sys.stderr = self.stream

    def take(self) -> str:
        """Return what was written since the last time, the end of it if it is long."""
        with contextlib.suppress(ValueError, OSError):
            self.stream.flush()
        size = os.fstat(self._descriptor).st_size
        if not size:
            return ""
        start = max(0, size - OUTPUT_LIMIT)
        text = os.pread(self._descriptor, OUTPUT_LIMIT, start).decode("utf-8", "replace")
        os.ftruncate(self._descriptor, 0)
        return f"[{start} bytes left out]\n{text}" if start else text


class Surroundings:
    """Remembers how the process was before a step, and restores it after one."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._pid = os.getpid()
        self._environ = dict(os.environ)
        self._environ_data = dict(_environ_data())
        self._folder = str(Path.cwd())
        self._path = list(sys.path)
        self._signals = {number: getsignal(number) for number in _SIGNALS}
        self._peak = _peak()

    def leave_copies(self) -> None:
        """End here if this is a process that the step forked off itself: only the original speaks to the worker."""
        if os.getpid() != self._pid:
            os._exit(0)

    def fit(self) -> bool:
        """End what the step has left running; False if this process should not run another step."""
        return self._back_home() and self._alone() and _peak() - self._peak < _GROWTH

    def restore(self) -> None:
        """Put back what the step may have changed."""
        self._output.install()
        if _environ_data() != self._environ_data:
            os.environ.clear()
            os.environ.update(self._environ)
        sys.path[:] = self._path
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._signals.items():
            if getsignal(number) is not handler:
                signal.signal(number, handler)
        socket.setdefaulttimeout(None)
        os.umask(0o022)

    def _back_home(self) -> bool:
        try:
            if os.getcwd() != self._folder:  # noqa: PTH109
                os.chdir(self._folder)
        except OSError:
            try:
                os.chdir(self._folder)
            except OSError:
                return False
        return True

    def _alone(self) -> bool:
        """Kill the processes that the step left behind; say whether there was nothing left, threads included."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            others = threading.enumerate() if threading.active_count() > 1 else ()
            return all(thread.name.startswith(LOOP_THREADS) for thread in others if thread is not threading.main_thread())
        for process in process_tree.descendants(self._pid):
            process_tree.kill(process)
        return False


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _environ_data() -> dict[Any, Any]:
    """Return what os.environ wraps: comparing the wrapper itself decodes each variable, 30 µs a step."""
    data: dict[Any, Any] = getattr(os.environ, "_data", None) or dict(os.environ)
    return data


def _ignore(_signal: int, _frame: object) -> None:
    """Do nothing; a handler, unlike SIG_IGN, is not handed on to what a step executes."""
