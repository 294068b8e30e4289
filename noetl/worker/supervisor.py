"""The worker's hold on its zygote: start it, ask it to fork and to kill, hear what it reports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

import orjson

from noetl.errors import Unavailable
from noetl.worker import zygote
from noetl.worker.child import Options

_START_WITHIN = 30.0
_GONE_WITHIN = 8.0
_SECRET_PREFIXES = ("NOETL_", "POSTGRES_", "PLAYBOOKS_POSTGRES_", "NATS_", "PG")


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker's children: without whatever configures noetl or names its services."""
    return {name: value for name, value in environ.items() if not name.startswith(_SECRET_PREFIXES)}


class Supervisor:
    """One zygote process. `on_forked(number, pid)`, `on_exited(number, status)`, `on_lost()` are told what happens."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        on_forked: Callable[[int, int], None],
        on_exited: Callable[[int, int | None], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._options = options
        self._environ = scrubbed(environ)
        self._on_forked = on_forked
        self._on_exited = on_exited
        self._on_lost = on_lost
        self._buffer = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process and wait until it can fork; Unavailable if it cannot."""
        loop = asyncio.get_running_loop()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._ready = loop.create_future()
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - once in a worker's life, and quick
                [sys.executable, "-m", "noetl.worker.zygote", str(theirs.fileno()), orjson.dumps(self._options).decode()],
                pass_fds=[theirs.fileno()],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        loop.add_reader(self._control.fileno(), self._on_readable)
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), _START_WITHIN)
        except TimeoutError:
            await self.close()
            raise Unavailable(
                f"the worker's child processes did not start within {_START_WITHIN:.0f} s", "look into the worker's log"
            ) from None

    def fork(self, number: int, connection: socket.socket) -> bool:
        """Ask for a child that speaks over this socket; return False where there is nobody left to ask."""
        if self._control is None:
            return False
        try:
            socket.send_fds(self._control, [zygote.REQUEST.pack(zygote.FORK, number)], [connection.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            self._lost()
            return False
        return True

    def kill(self, number: int) -> None:
        """Ask for the death of a child and of all that descends from it; nothing happens if it is gone."""
        if self._control is not None:
            try:
                self._control.send(zygote.REQUEST.pack(zygote.KILL, number))
            except OSError:
                self._lost()

    async def close(self) -> None:
        """End the zygote, and with it every descendant; return when it is gone."""
        self._hang_up()
        process = self._process
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, _GONE_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._process = None

    def _on_readable(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        buffer = self._buffer + data
        whole = len(buffer) - len(buffer) % zygote.REPORT.size
        self._buffer = buffer[whole:]
        for kind, number, pid, status in zygote.REPORT.iter_unpack(buffer[:whole]):
            self._heard(kind, number, pid, status)

    def _heard(self, kind: bytes, number: int, pid: int, status: int) -> None:
        if kind == zygote.READY:
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
        elif kind == zygote.FORKED:
            self._on_forked(number, pid)
        elif kind == zygote.REFUSED:
            self._on_exited(number, None)
        else:
            self._on_exited(number, status)

    def _lost(self) -> None:
        """The zygote died by itself: its children die with it, by their parent-death signal."""
        if self._control is None:
            return
        self._hang_up()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(Unavailable("the worker's child processes did not start", "look into the worker's log"))
        self._on_lost()

    def _hang_up(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None


def describe(status: int | None) -> str:
    """Say how a process ended, from what waitpid reports; None is one that could not be started."""
    if status is None:
        return "could not be started: the machine has no room for another process"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
        hint = ", perhaps because the machine ran out of memory" if number == signal.SIGKILL else ""
        return f"was killed by {name}{hint}"
    return f"ended with exit code {os.WEXITSTATUS(status)}"
