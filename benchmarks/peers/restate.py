"""Restate: its server from npm, a service with the Python SDK under hypercorn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil

from benchmarks.peers import environment
from benchmarks.peers.calls import Calls
from benchmarks.peers.peer import Place, Running, Work
from benchmarks.stack import free_port
from noetl.errors import NoetlError

REQUIREMENTS = ("restate-sdk==1.3.0", "hypercorn==0.18.0")
SERVER = "@restatedev/restate-server@1.7.12"
SERVICE_PROCESSES, PARTITIONS = 1, 4
"""What is fastest on two cores: a second process of the service, or the 24 partitions of the default, make it slower."""


class Restate:
    """Restate's server as a single node, its log written with fsync, and a service of one process."""

    name = "Restate"

    def install(self, environment_folder: Path) -> None:
        """Install the SDK, and the server's binary, which comes inside npm's package for the platform."""
        environment.install_python(environment_folder, REQUIREMENTS)
        if not _server(environment_folder).exists():
            words = ["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix", str(environment_folder / "npm"), SERVER]
            environment.command(words, environment_folder / "npm")

    @contextlib.asynccontextmanager
    async def started(self, place: Place) -> AsyncIterator[Running]:
        """Start the server and the service, and make the one known to the other."""
        ingress, admin, fabric, service = (free_port() for _ in range(4))
        settings = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{fabric}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{fabric}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_DEFAULT_NUM_PARTITIONS": str(PARTITIONS),
            "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "512MB",
            "RESTATE_LOG_FILTER": "warn",
        }
        serving = [str(place.environment / "bin" / "python"), "-m", "hypercorn", "benchmarks.peers.programs.restate:app"]
        serving += ["--bind", f"127.0.0.1:{service}", "--workers", str(SERVICE_PROCESSES)]
        server = [str(_server(place.environment)), "--base-dir", str(place.data / "restate-data"), "--no-logo"]
        async with (
            environment.running(serving, place.data, "service.log", {"PYTHONDONTWRITEBYTECODE": "1"}) as handlers,
            environment.running(server, place.data, "server.log", settings) as engine,
            aiohttp.ClientSession() as session,
        ):
            await environment.until_open(service, handlers, place.data / "service.log")
            await environment.until_open(admin, engine, place.data / "server.log")
            await environment.until_open(ingress, engine, place.data / "server.log")
            await _register(session, admin, service)
            with contextlib.closing(Calls(f"http://127.0.0.1:{ingress}/flows")) as calls:
                yield RunningRestate(calls, [engine.pid, handlers.pid])


class RunningRestate:
    """Restate that is up, called through its ingress."""

    def __init__(self, calls: Calls, pids: list[int]) -> None:
        self._calls = calls
        self._pids = pids

    async def run(self, work: Work) -> None:
        """Call a handler; its answer comes when the invocation is completed."""
        if work.kind == "many":
            await asyncio.gather(*(self._call("chain", 3) for _ in range(work.count)))
        else:
            await self._call(work.kind, work.count)

    def processes(self) -> list[psutil.Process]:
        """Return the server and the service."""
        return [psutil.Process(pid) for pid in self._pids]

    async def _call(self, handler: str, count: int) -> None:
        status, answer = await self._calls.post(f"/{handler}", count)
        if status != 200:
            raise NoetlError(f"{handler} answered {status}: {answer[:200]!r}", "see the server's log")


def _server(folder: Path) -> Path:
    found = sorted((folder / "npm" / "node_modules" / "@restatedev").glob("restate-server-*/bin/restate-server"))
    return found[0] if found else folder / "npm" / "restate-server"


async def _register(session: aiohttp.ClientSession, admin: int, service: int) -> None:
    problem = ""
    for _ in range(60):
        try:
            async with session.post(f"http://127.0.0.1:{admin}/deployments", json={"uri": f"http://127.0.0.1:{service}"}) as response:
                problem = await response.text()
                if response.status < 300:
                    return
        except aiohttp.ClientError as error:
            problem = str(error)
        await asyncio.sleep(0.5)
    raise NoetlError(f"the service was not registered: {problem[:200]}", "see the server's log")
