"""The process that forks a worker's children, and sees to it that nothing of them is left when the worker goes, however it goes."""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NoReturn

import orjson

from noetl.tools import leftovers
from noetl.worker import child, process_tree

REQUEST = struct.Struct("!cI")
"""FORK (with the child's end of its socket) or KILL, and the number that the worker gave the child."""
REPORT = struct.Struct("!cIii")
"""READY, FORKED, REFUSED or EXITED, the child's number, its pid, its exit status (as waitpid has it) or errno."""
FORK, KILL = b"F", b"K"
READY, FORKED, REFUSED, EXITED = b"R", b"S", b"N", b"X"

_WHEN_IDLE = (
    "noetl.tools.http",
    "noetl.tools.postgres",
    "noetl.tools.shell",
    "noetl.tools.duckdb",
    "noetl.tools.transfer",
    "noetl.tools.sinks.http",
    "noetl.tools.sinks.postgres",
    "noetl.tools.sinks.python",
)
_IDLE = 0.2
_GONE_WITHIN = 5.0


def output_file(workdir: str, zygote: int, number: int) -> Path:
    """Return where a child's standard output goes."""
    return Path(workdir) / f"output-{zygote}-{number}"


class Zygote:
    """Forks, kills and reaps on request until the worker's socket closes."""

    def __init__(self, control: socket.socket, options: child.Options) -> None:
        self._control = control
        self._options = options
        self._numbers: dict[int, int] = {}
        self._pending: list[str] = list(_WHEN_IDLE)
        self._wakeup, wakeup = socket.socketpair()
        self._signalled = wakeup
        for end in (self._wakeup, wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _ignore)

    def serve(self) -> None:
        """Serve until the worker is gone; then end every descendant."""
        self._report(READY, 0, os.getpid(), 0)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._control, selectors.EVENT_READ)
                selector.register(self._wakeup, selectors.EVENT_READ)
                while True:
                    ready = [key.fileobj for key, _ in selector.select(_IDLE if self._pending else None)]
                    if self._wakeup in ready:
                        self._wakeup.recv(4096)
                        self._reap()
                    if self._control in ready and not self._obey(selector):
                        return
                    if not ready:
                        self._preload()
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            self._end_all()

    def _obey(self, selector: selectors.BaseSelector) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, REQUEST.size, 1)
        while data and len(data) < REQUEST.size:
            more = self._control.recv(REQUEST.size - len(data))
            if not more:
                return False
            data += more
        if not data:
            return False
        request, number = REQUEST.unpack(data)
        if request == FORK:
            self._fork(number, socket.socket(fileno=descriptors[0]), selector)
        else:
            for pid in [pid for pid, known in self._numbers.items() if known == number]:
                process_tree.kill_tree(pid)
        return True

    def _fork(self, number: int, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            connection.close()
            self._report(REFUSED, number, 0, error.errno or 0)
            return
        if pid == 0:
            self._become_child(parent, number, connection, selector)
        connection.close()
        self._numbers[pid] = number
        self._report(FORKED, number, pid, 0)

    def _become_child(self, parent: int, number: int, connection: socket.socket, selector: selectors.BaseSelector) -> NoReturn:
        status = 1
        try:
            os.setsid()
            process_tree.die_with(parent)
            process_tree.adopt_orphans()
            signal.set_wakeup_fd(-1)
            selector.close()
            for end in (self._control, self._wakeup, self._signalled):
                end.close()
            child.run(connection, self._options, output_file(self._options.workdir, parent, number))
            status = 0
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Take in the dead, and end what they left behind: whatever is our child and was not forked here is an orphan of theirs."""
        gone: list[tuple[int, int, int]] = []
        deadline = time.monotonic() + 2.0
        while True:
            self._collect(gone)
            orphans = [pid for pid in process_tree.children(os.getpid()) if pid not in self._numbers]
            if not orphans or time.monotonic() > deadline:
                break
            for orphan in orphans:
                process_tree.kill_tree(orphan)
            time.sleep(0.001)
        for number, pid, status in gone:
            self._report(EXITED, number, pid, status)

    def _collect(self, gone: list[tuple[int, int, int]]) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._numbers:
                gone.append((self._numbers.pop(pid), pid, status))

    def _end_all(self) -> None:
        for path in Path(self._options.workdir).glob(f"output-{os.getpid()}-*"):
            path.unlink(missing_ok=True)
        deadline = time.monotonic() + _GONE_WITHIN
        while time.monotonic() < deadline:
            left = process_tree.children(os.getpid())
            for pid in left:
                process_tree.kill_tree(pid)
            self._collect([])
            if not left:
                break
            time.sleep(0.002)
        if noted := leftovers.notes(Path(self._options.workdir).glob("calls/*")):
            leftovers.removing(noted)

    def _preload(self) -> None:
        """Import one more of the heavy modules, so that children forked later share its memory and start with it."""
        name = self._pending.pop(0)
        try:
            importlib.import_module(name)
        except ImportError:
            return
        gc.collect()
        gc.freeze()

    def _report(self, kind: bytes, number: int, pid: int, status: int) -> None:
        self._control.sendall(REPORT.pack(kind, number, pid, status))


def _ignore(_signal: int, _frame: object) -> None:
    """Do nothing: the worker's end of the socket is what ends this process."""


def main() -> None:
    """Serve the worker whose socket is the first argument's descriptor; the second holds the options as JSON."""
    options = child.Options(**orjson.loads(sys.argv[2]))
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    sys.argv[:] = ["noetl"]
    Path(options.workdir).mkdir(parents=True, exist_ok=True)
    process_tree.adopt_orphans()
    gc.collect()
    gc.freeze()
    Zygote(control, options).serve()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
