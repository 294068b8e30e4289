"""The stack that is broken: PostgreSQL with fsync, nats-server, two servers, several workers, in a folder of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from chaos.plan import LEASE, SERVERS, WORKERS
from noetl import home as files
from noetl.errors import NoetlError
from noetl.ops import environment, nats, ports, postgres, stack
from noetl.ops.client import Client
from noetl.ops.process import runs_still
from noetl.settings import Postgres, Settings

READY_WITHIN = 60.0
SLOTS = 8


@dataclass
class Part:
    """A server or a worker: how it is started, its process, and until when it is left dead."""

    name: str
    words: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    down: bool = False
    stopped: bool = False
    starts: int = 0

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Platform:
    """All of it. `keep` starts again whatever died, unless a fault holds it down."""

    home: Path
    say: Callable[[str], None]
    ports: list[int] = field(default_factory=list)
    servers: list[Part] = field(default_factory=list)
    workers: list[Part] = field(default_factory=list)
    services_down: set[str] = field(default_factory=set)
    _beginning: set[asyncio.Future[object]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ports = [ports.free() for _ in range(SERVERS)]
        self.settings = Settings(home=self.home, host="127.0.0.1", port=self.ports[0], lease_seconds=LEASE)
        for number, port in enumerate(self.ports, 1):
            words = ["noetl.server", "--host", "127.0.0.1", "--port", str(port), *(["--init-db"] if number == 1 else [])]
            self.servers.append(self._part(f"server-{number}", words))
        for number in range(1, WORKERS + 1):
            at = f"http://127.0.0.1:{self.ports[number % SERVERS]}"
            words = ["noetl.worker", "--name", f"w{number}", "--max-workers", str(SLOTS), "--server-url", at]
            self.workers.append(self._part(f"worker-{number}", words))

    @property
    def parts(self) -> list[Part]:
        """Servers and workers."""
        return [*self.servers, *self.workers]

    @property
    def database(self) -> Postgres:
        """The server's database."""
        found = files.read_embedded(self.home).postgres
        assert found is not None
        return found

    @property
    def outside(self) -> Postgres:
        """The database that playbooks write to."""
        found = files.read_embedded(self.home).playbooks
        assert found is not None
        return found

    def client(self, number: int, timeout: float = 10.0) -> Client:
        """Return a client of a server."""
        return Client(f"http://127.0.0.1:{self.ports[number % SERVERS]}", files.token(self.settings), timeout)

    async def open(self) -> None:
        """Start everything and return when it is ready."""
        await self._begin(stack.start)
        self.start(self.servers[0])
        await self._until(lambda: self.client(0).answers("/ready"), "server-1 is ready")
        for part in [*self.servers[1:], *self.workers]:
            self.start(part)
        await self._until(lambda: all(self.client(number).answers("/ready") for number in range(SERVERS)), "the servers are ready")
        await self._until(lambda: len(self.client(0).get("/api/workers")["workers"]) >= WORKERS, "the workers say hello")

    async def keep(self) -> None:
        """Start again what is dead and may live, until cancelled."""
        while True:
            for part in self.parts:
                if not part.alive and not part.down:
                    self.start(part)
            await asyncio.sleep(0.2)

    def start(self, part: Part) -> None:
        """Start a part."""
        part.starts += 1
        with part.log.open("ab") as output:
            part.process = subprocess.Popen(
                [sys.executable, "-m", *part.words],
                cwd=self.home,
                env=environment.for_child(replace(self.settings, server_url=None), _outer()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def restore(self, service: str) -> None:
        """Start a service that was killed; another fault may hit it while it starts."""
        start = stack.start_postgres if service == "postgres" else stack.start_nats
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                await self._begin(start)
                break
            except NoetlError:
                if time.monotonic() > deadline:
                    raise
        self.services_down.discard(service)

    async def _begin(self, start: Callable[[Settings], object]) -> None:
        """Start a service in a thread. Whoever closes this waits for that, even where nobody else does any longer."""
        future = asyncio.get_running_loop().run_in_executor(None, start, self.settings)
        self._beginning.add(future)
        future.add_done_callback(self._beginning.discard)
        await asyncio.shield(future)

    def service(self, name: str) -> int | None:
        """Return the process id of a service that runs."""
        record = (postgres if name == "postgres" else nats).find(self.home)
        return None if record is None else record.pid

    def family(self) -> list[psutil.Process]:
        """Return every live process that has this home in its environment, its command line or as its folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                known = [process.cwd(), *process.cmdline(), process.environ().get("NOETL_HOME", "")]
                if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and any(str(self.home) in one for one in known):
                    found.append(process)
        return found

    async def close(self) -> list[str]:
        """Stop everything as an operator would, and return what still runs afterwards."""
        for part in self.parts:
            part.down = True
        await asyncio.gather(*self._beginning, return_exceptions=True)
        trees = self._trees()
        for kind in (self.workers, self.servers):
            await asyncio.gather(*(asyncio.to_thread(_end, part) for part in kind))
        await asyncio.to_thread(stack.stop_all, self.settings, force=True, timeout=10)
        await asyncio.sleep(0.3)
        left = {process.pid: process for process in self.family()}
        left |= {one.pid: one for one in trees if runs_still(one)}
        names = []
        for process in left.values():
            with contextlib.suppress(psutil.Error):
                names.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
                process.kill()
        return names

    def _trees(self) -> list[psutil.Process]:
        found = []
        for part in self.parts:
            with contextlib.suppress(psutil.Error):
                if part.process is not None:
                    found += psutil.Process(part.process.pid).children(recursive=True)
        return found

    def _part(self, name: str, words: list[str]) -> Part:
        return Part(name, words, self.home / "logs" / f"{name}.log")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            with contextlib.suppress(NoetlError):
                if await asyncio.to_thread(condition):
                    return
            await asyncio.sleep(0.1)
        raise NoetlError(f"after {READY_WITHIN:.0f} s it is still not so that {what}", f"see the logs in {self.home / 'logs'}")


@contextlib.asynccontextmanager
async def connected(where: Postgres) -> AsyncIterator[Any]:
    """Connect to a database."""
    held = await asyncpg.connect(
        host=where.host, port=where.port, database=where.database, user=where.user, password=where.password.reveal(), timeout=5
    )
    try:
        yield held
    finally:
        await held.close()


def _outer() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "PLAYBOOKS_", "NATS_"))}


def _end(part: Part) -> None:
    if part.process is None or part.process.poll() is not None:
        return
    part.process.send_signal(signal.SIGCONT)
    part.process.terminate()
    try:
        part.process.wait(20)
    except subprocess.TimeoutExpired:
        part.process.kill()
        part.process.wait()
