"""Executions through the real server, worker, PostgreSQL and NATS."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

import aiohttp

from benchmarks import playbooks

CHAIN, ITEMS, MANY, LONE = 200, 2000, 500, 60


class Caller:
    """A client of the server that keeps its connections."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def register(self, content: str) -> str:
        """Register a playbook and return its path."""
        return str((await self.post("/api/catalog/register", {"content": content}))["path"])

    async def execute(self, path: str) -> str:
        """Begin an execution and return its id."""
        return str((await self.post("/api/execute", {"path": path}))["execution_id"])

    async def finished(self, execution_id: str) -> dict[str, Any]:
        """Wait until an execution is finished and return its summary; it must have completed."""
        async with self._session.get(f"/api/executions/{execution_id}/stream", params={"after": "999999999"}) as stream:
            ended = False
            async for line in stream.content:
                if ended:
                    found: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                    assert found["status"] == "COMPLETED", found
                    return found
                ended = line == b"event: end\n"
        raise AssertionError(f"the events of execution {execution_id} ended before it did")

    async def any_running(self) -> bool:
        """Return whether any execution is not finished."""
        async with self._session.get("/api/executions", params={"status": "RUNNING", "limit": "1"}) as response:
            return bool((await response.json())["executions"])

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post JSON and return JSON."""
        async with self._session.post(path, json=body) as response:
            found: dict[str, Any] = await response.json()
            assert response.status == 200, found
            return found


async def measure(url: str, token: str, repeat: int = 3) -> dict[str, float]:
    """Return the medians of a few runs: ms a step, items a second, executions a second, ms of a lone execution."""
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
        caller = Caller(session)
        chain, loop, three = [await caller.register(text) for text in (playbooks.chain(CHAIN), playbooks.loop(ITEMS), playbooks.chain(3))]
        await caller.finished(await caller.execute(loop))
        found: dict[str, list[float]] = {}
        for _ in range(repeat):
            done = await caller.finished(await caller.execute(chain))
            found.setdefault("chain", []).append(done["duration"] * 1000 / CHAIN)
            done = await caller.finished(await caller.execute(loop))
            found.setdefault("loop", []).append(ITEMS / done["duration"])
            found.setdefault("many", []).append(await _many(caller, three))
        lone = [await _lone(caller, three) for _ in range(LONE)]
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {**medians, "lone_p50": statistics.median(lone), "lone_p99": statistics.quantiles(lone, n=100)[98]}


async def _many(caller: Caller, path: str) -> float:
    started = time.perf_counter()
    waiting = asyncio.Semaphore(32)

    async def one() -> str:
        async with waiting:
            return await caller.execute(path)

    await asyncio.gather(*(one() for _ in range(MANY)))
    while await caller.any_running():
        await asyncio.sleep(0.02)
    return MANY / (time.perf_counter() - started)


async def _lone(caller: Caller, path: str) -> float:
    started = time.perf_counter()
    await caller.finished(await caller.execute(path))
    return (time.perf_counter() - started) * 1000
