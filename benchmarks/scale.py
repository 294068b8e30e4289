"""What does not show in one figure: CPU of a step, growth with history and size, an idle stack, memory over time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import psutil

from benchmarks import cpu
from benchmarks.peers import noetl
from benchmarks.peers.noetl import RunningNoetl
from benchmarks.peers.peer import Work
from noetl.ops import server
from noetl.settings import Settings

CHAIN, LOOP, MANY = Work("chain", 200), Work("loop", 2000), Work("many", 500)
LONG, LARGE, ENDS = Work("chain", 2000), Work("loop", 20_000), 100
IDLE, BETWEEN = 30.0, 5.0
EARLY, LATE = 2000, 10_000
"""Executions after which the server's memory is read."""


async def measure(settings: Settings) -> dict[str, float]:
    """Return CPU milliseconds a step, ratios of growth, the idle stack's percent of a core, and the server's MiB."""
    async with noetl.started(settings) as running:
        for work in (Work("chain", 3), Work("loop", 50), Work("many", 20)):
            await running.run(work)
        found = {
            "cpu_chain": await _cpu(running, CHAIN, 200),
            "cpu_loop": await _cpu(running, LOOP, 2000),
            "cpu_many": await _cpu(running, MANY, 1500),
            "growth_chain": last_to_first(await running.exits(await running.execute(LONG)), ENDS),
            "growth_loop": await _growth(running),
            "idle": await _idle(running),
        }
        early, late = await _memory(running, [psutil.Process(record.pid) for record in server.running(settings.home)])
        return {**found, "memory_early": early, "memory_late": late}


def last_to_first(times: Sequence[datetime], ends: int) -> float:
    """Return how much longer the last so many steps took than the first, by when each ended."""
    if len(times) < 2 * ends + 1:
        raise ValueError(f"{len(times)} ends of steps are too few to compare {ends} with {ends}")
    taken = [(after - before).total_seconds() for before, after in pairwise(sorted(times))]
    return sum(taken[-ends:]) / sum(taken[:ends])


async def _cpu(running: RunningNoetl, work: Work, steps: int) -> float:
    before = cpu.seconds(running.processes())
    await running.run(work)
    return (cpu.seconds(running.processes()) - before) * 1000 / steps


async def _growth(running: RunningNoetl) -> float:
    taken = []
    for work in (LOOP, LARGE):
        begun = time.perf_counter()
        await running.run(work)
        taken.append(time.perf_counter() - begun)
    return taken[1] / taken[0]


async def _idle(running: RunningNoetl) -> float:
    await asyncio.sleep(BETWEEN)
    before = cpu.seconds(running.processes())
    await asyncio.sleep(IDLE)
    return (cpu.seconds(running.processes()) - before) * 100 / IDLE


async def _memory(running: RunningNoetl, servers: list[psutil.Process]) -> tuple[float, float]:
    early = 0.0
    for done in range(MANY.count, LATE + 1, MANY.count):
        await running.run(MANY)
        if done == EARLY:
            early = cpu.memory(servers) / 2**20
    return early, cpu.memory(servers) / 2**20
