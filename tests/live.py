"""A running platform for tests: real servers and workers as processes, and a client of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil

from noetl.errors import NoetlError, Unavailable
from noetl.ops import ports
from noetl.ops.client import Client
from noetl.settings import Postgres, Secret

Json = Any
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


@dataclass
class Running:
    """One process of the platform."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def said(self) -> str:
        """Return what it has logged."""
        return self.log.read_text(errors="replace")


@dataclass
class Live:
    """Servers and workers on one database and one nats-server, in a home of their own."""

    home: Path
    postgres: Postgres
    nats_url: Secret
    playbooks: Postgres
    more: dict[str, str] = field(default_factory=dict)
    token: Secret = field(default_factory=lambda: Secret("a-token-of-the-tests"))
    processes: list[Running] = field(default_factory=list)

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of the platform's processes."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_", "PLAYBOOKS_"))}
        clean |= {
            "NOETL_HOME": str(self.home),
            "NOETL_HOST": "127.0.0.1",
            "NATS_URL": self.nats_url.reveal(),
            "NOETL_API_TOKEN": self.token.reveal(),
        }
        for prefix, one in (("", self.postgres), ("PLAYBOOKS_", self.playbooks)):
            names = {"HOST": one.host, "PORT": str(one.port), "DB": one.database, "USER": one.user, "PASSWORD": one.password.reveal()}
            clean |= {f"{prefix}POSTGRES_{name}": value for name, value in names.items()}
        return clean | self.more | dict(more or {})

    def server(self, more: Mapping[str, str] | None = None, *, wait: bool = True, port: int | None = None) -> Running:
        """Start a server; with `wait`, return when it is ready."""
        port = port or ports.free()
        running = self._start(f"server-{port}", ["noetl.server", "--port", str(port), "--init-db"], more)
        running.url = f"http://127.0.0.1:{port}"
        client = Client(running.url, self.token)
        if wait:
            self.until(lambda: client.answers("/ready") or not running.alive, "the server is ready", 30)
            assert running.alive, running.said()
        return running

    def worker(
        self,
        name: str = "w1",
        *,
        slots: int = 8,
        server: Running | None = None,
        more: Mapping[str, str] | None = None,
        wait: bool = True,
        pool: str = "default",
    ) -> Running:
        """Start a worker; with `wait`, return when it has said hello."""
        at = server or self.a_server
        words = ["noetl.worker", "--name", name, "--max-workers", str(slots), "--server-url", at.url, "--pool", pool]
        running = self._start(f"worker-{name}", words, more)
        if wait:
            client = Client(at.url, self.token)

            def here() -> bool:
                assert running.alive, running.said()
                return any(row["pid"] == running.pid and row["status"] == "ready" for row in client.get("/api/workers")["workers"])

            self.until(here, f"worker {name} says hello", 30)
        return running

    @property
    def a_server(self) -> Running:
        """A server that runs."""
        return next(running for running in self.processes if running.alive and running.url)

    @property
    def api(self) -> Client:
        """A client of a server that runs."""
        return Client(self.a_server.url, self.token)

    def register(self, text: str) -> dict[str, Json]:
        """Register a playbook."""
        found: dict[str, Json] = self.api.post("/api/catalog/register", {"content": text})
        return found

    def execute(self, text: str, payload: Mapping[str, Json] | None = None, *, api: Client | None = None) -> str:
        """Register a playbook and begin an execution of it; return its id."""
        client = api or self.api
        path = client.post("/api/catalog/register", {"content": text})["path"]
        return str(client.post("/api/execute", {"path": path, "payload": dict(payload or {})})["execution_id"])

    def status(self, execution_id: str) -> dict[str, Json]:
        """Return where an execution stands."""
        found: dict[str, Json] = self.api.get(f"/api/executions/{execution_id}/status")
        return found

    def steps(self, execution_id: str) -> list[dict[str, Json]]:
        """Return the runs of an execution's steps."""
        found: list[dict[str, Json]] = self.api.get(f"/api/executions/{execution_id}/steps")["steps"]
        return found

    def events(self, execution_id: str, kind: str | None = None) -> list[dict[str, Json]]:
        """Return an execution's events, of one type or all."""
        found = self.api.get(f"/api/executions/{execution_id}/events", limit=10_000)["events"]
        return [event for event in found if kind is None or event["event_type"] == kind]

    def result(self, execution_id: str, step: str) -> Json:
        """Return the latest result of a step."""
        return self.api.get(f"/api/executions/{execution_id}/result/{quote(step, safe='')}")

    def finish(self, execution_id: str, within: float = 90) -> dict[str, Json]:
        """Wait until an execution is final and return where it stands; a server that is away is asked again."""
        deadline = time.monotonic() + within
        found: dict[str, Json] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(Unavailable, StopIteration):
                found = self.status(execution_id)
                if found["status"] in FINAL:
                    return found
            time.sleep(0.03)
        raise AssertionError(f"execution {execution_id} is not final after {within} s: {found}")

    def run(self, text: str, payload: Mapping[str, Json] | None = None, within: float = 90) -> dict[str, Json]:
        """Register, execute, wait."""
        return self.finish(self.execute(text, payload), within)

    def until(self, condition: Callable[[], Json], what: str, within: float = 60) -> Json:
        """Wait until something is so and return it."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            with contextlib.suppress(NoetlError, StopIteration):
                if found := condition():
                    return found
            time.sleep(0.03)
        raise AssertionError(f"after {within} s it is still not so that {what}")

    def sql(self, query: str, *args: object) -> list[dict[str, Json]]:
        """Ask the server's database."""
        return ask(self.postgres, query, *args)

    def close(self) -> None:
        """Kill whatever still runs."""
        for running in self.processes:
            if running.alive:
                with contextlib.suppress(ProcessLookupError):
                    running.send(signal.SIGCONT)
                running.process.terminate()
        for running in self.processes:
            try:
                running.process.wait(8)
            except subprocess.TimeoutExpired:
                running.kill()
        for process in processes_of(self.home):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _start(self, name: str, words: list[str], more: Mapping[str, str] | None) -> Running:
        self.home.mkdir(parents=True, exist_ok=True)
        log = self.home / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self.home,
                env=self.environ(more),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        running = Running(name, process, log)
        self.processes.append(running)
        return running


def ask(where: Postgres, query: str, *args: object) -> list[dict[str, Json]]:
    """Run SQL in a database and return its rows."""

    async def go() -> list[dict[str, Json]]:
        held = await asyncpg.connect(
            host=where.host, port=where.port, database=where.database, user=where.user, password=where.password.reveal(), timeout=10
        )
        try:
            return [dict(row) for row in await held.fetch(query, *args)]
        finally:
            await held.close()

    return asyncio.run(go())


def processes_of(home: Path) -> list[psutil.Process]:
    """Return the live processes that work in a home or have it in their environment or command line, services excepted."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.info["name"] in ("postgres", "nats-server"):
                continue
            known = [process.cwd(), *process.cmdline(), process.environ().get("NOETL_HOME", "")]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(home) in text for text in known):
            found.append(process)
    return found


@contextlib.contextmanager
def stopping(live: Live) -> Iterator[Live]:
    """Hand a platform out and stop it."""
    try:
        yield live
    finally:
        live.close()


def playbooks_folder() -> Path:
    """Return where playbooks with what each must give are: NOETL_TEST_PLAYBOOKS, else the folder beside the checkout."""
    return Path(os.environ.get("NOETL_TEST_PLAYBOOKS") or Path(__file__).parents[2] / "shared" / "playbooks")
