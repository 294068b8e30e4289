"""NoETL itself: server, worker, PostgreSQL and NATS as `noetl up` starts them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime

import aiohttp
import psutil

from benchmarks import playbooks, stack
from benchmarks.peers.calls import Calls
from benchmarks.peers.peer import Work
from noetl.errors import NoetlError
from noetl.ops import services
from noetl.settings import Settings

NAME = "noetl"
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
AT_ONCE, LONGEST = 240, 900
"""Seconds for which an execution is waited for in the request that begins it, and in all."""


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[RunningNoetl]:
    """Yield the stack that runs with these settings, called through its API."""
    token, url = stack.token(settings), f"http://127.0.0.1:{settings.port}"
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout) as session:
        with contextlib.closing(Calls(url, token)) as calls:
            yield RunningNoetl(session, calls, settings)


class RunningNoetl:
    """NoETL that is up."""

    def __init__(self, session: aiohttp.ClientSession, calls: Calls, settings: Settings) -> None:
        self._session = session
        self._calls = calls
        self._settings = settings
        self._paths: dict[Work, str] = {}

    async def run(self, work: Work) -> None:
        """Execute a playbook; the answer comes when the execution is over."""
        if work.kind == "many":
            path = await self._path(Work("chain", 3))
            await asyncio.gather(*(self._execute(path) for _ in range(work.count)))
        else:
            await self.execute(work)

    async def register(self, work: Work) -> None:
        """Make the playbook of some work known, as a handler of a peer is before it is called."""
        await self._path(work)

    async def execute(self, work: Work) -> str:
        """Execute one playbook to its end and return the execution's id."""
        return await self._execute(await self._path(work))

    async def exits(self, execution_id: str) -> list[datetime]:
        """Return when each step of an execution ended."""
        found: list[datetime] = []
        after = 0
        while True:
            params = {"after": str(after), "limit": "10000"}
            async with self._session.get(f"/api/executions/{execution_id}/events", params=params) as response:
                events = (await response.json())["events"]
            if not events:
                return found
            found += [datetime.fromisoformat(event["timestamp"]) for event in events if event["event_type"] == "step.exit"]
            after = int(events[-1]["event_id"])

    def processes(self) -> list[psutil.Process]:
        """Return postgres, nats-server, the server and the worker."""
        return [psutil.Process(record.pid) for record in services.running(self._settings)]

    async def _path(self, work: Work) -> str:
        """Return the path of the playbook for work, registered once."""
        if work not in self._paths:
            text = playbooks.chain(work.count) if work.kind == "chain" else playbooks.loop(work.count)
            self._paths[work] = str((await self._post("/api/catalog/register", {"content": text}))["path"])
        return self._paths[work]

    async def _execute(self, path: str) -> str:
        said = await self._post("/api/execute", {"path": path, "wait": AT_ONCE})
        execution_id, deadline = str(said["execution_id"]), time.monotonic() + LONGEST
        while said["status"] not in FINAL and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            async with self._session.get(f"/api/executions/{execution_id}/status") as response:
                said = await response.json()
        if said["status"] != "COMPLETED":
            raise NoetlError(f"an execution of {path} is {said['status']}", f"noetl execution.why {execution_id}")
        return execution_id

    async def _post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        status, answer = await self._calls.post(path, body)
        if status != 200:
            raise NoetlError(f"{path} answered {status}: {answer[:200]!r}", "see the server's log")
        said: dict[str, object] = json.loads(answer)
        return said
