"""noetl and its peers given the same work in turn, on one machine, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg
import psutil

from benchmarks import comparison, cpu
from benchmarks.comparison import CPU, MEASURES, Measure, Result, Row
from benchmarks.peers import environment, noetl
from benchmarks.peers.dbos import Dbos
from benchmarks.peers.peer import Peer, Place, Running, Work
from benchmarks.peers.prefect import Prefect
from benchmarks.peers.procrastinate import Procrastinate
from benchmarks.peers.restate import Restate
from noetl.errors import NoetlError
from noetl.home import read_embedded
from noetl.ops import postgres
from noetl.settings import Postgres, Settings
from noetl.store.postgres import connection

PEERS: dict[str, Peer] = {"restate": Restate(), "dbos": Dbos(), "procrastinate": Procrastinate(), "prefect": Prefect()}
ROUNDS = 3
LONGEST = 120.0
"""Seconds after which one run of a peer is given up."""
ENOUGH = 25.0
"""Seconds of runs after which no more are made of what is that slow."""
CALM, LOOK, LONGEST_UNREST = 5.0, 0.25, 3.0
"""Per cent of the machine that may be busy when a run begins, seconds between two looks, and seconds after which it begins anyway."""
FAILURES = (NoetlError, OSError, TimeoutError, aiohttp.ClientError, psutil.Error)
Say = Callable[[str], None]


@dataclass
class Contestant:
    """One of those that are measured: what runs, or why it does not, and the times of its runs."""

    name: str
    up: contextlib.AsyncExitStack
    running: Running | None = None
    problem: str = ""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def result(self, measure: Measure) -> Result:
        """Return what it reached."""
        seconds, problem = self.seconds.get(measure.name, []), self.problem or self.problems.get(measure.name, "")
        if measure is CPU and not seconds and not problem and any(self.seconds.values()):
            problem = "its caller runs in the same process"
        return comparison.result(measure, seconds, problem)


async def measure(settings: Settings, home: Path, names: Sequence[str], say: Say) -> list[Row]:
    """Run everything; `home` is a folder for the peers' PostgreSQL and data, and is left stopped."""
    async with contextlib.AsyncExitStack() as up:
        own = Contestant(noetl.NAME, await up.enter_async_context(contextlib.AsyncExitStack()))
        own.running = running = await own.up.enter_async_context(noetl.started(settings))
        for what in MEASURES:
            await running.register(what.work)
        contestants = [own]
        way_in = up.enter_context(_postgres(home))
        for name in names:
            one = Contestant(PEERS[name].name, await up.enter_async_context(contextlib.AsyncExitStack()))
            contestants.append(one)
            await _start(one, PEERS[name], home / name, way_in, say)
        for one in contestants:
            await _warm(one, say)
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            for what in MEASURES:
                for one in contestants:
                    await _calm()
                    await _run(one, what)
        rows = [(what, [one.result(what) for one in contestants]) for what in (*MEASURES, CPU)]
    labels = [one.name for one in contestants[1:]]
    return [comparison.row(what, results[0], dict(zip(labels, results[1:], strict=True))) for what, results in rows]


@contextlib.contextmanager
def _postgres(home: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL for the peers: the build and the configuration of noetl's own."""
    databases = postgres.start(home, read_embedded(home))
    try:
        yield postgres.superuser(home, databases.noetl.port)
    finally:
        postgres.stop(home, force=True)


async def _start(one: Contestant, peer: Peer, data: Path, way_in: Postgres, say: Say) -> None:
    say(f"installing and starting {peer.name}")
    folder = environment.folder() / peer.name.lower()
    try:
        await asyncio.to_thread(peer.install, folder)
        await asyncio.to_thread(data.mkdir, parents=True)
        place = Place(folder, data, await _database(way_in, peer.name.lower()))
        one.running = await one.up.enter_async_context(peer.started(place))
    except FAILURES as error:
        one.problem = _words(error)


async def _database(way_in: Postgres, name: str) -> Postgres:
    session = await asyncpg.connect(**connection(way_in))
    try:
        assert await session.fetchval("SHOW fsync") == "on"
        await session.execute(f'CREATE DATABASE "{name}"')
    finally:
        await session.close()
    return Postgres(way_in.host, way_in.port, name, way_in.user, way_in.password)


async def _warm(one: Contestant, say: Say) -> None:
    if one.running is None:
        say(f"{one.name}: {one.problem}")
        return
    try:
        for work in (Work("chain", 3), Work("loop", 50), Work("many", 20)):
            await asyncio.wait_for(one.running.run(work), LONGEST)
    except FAILURES as error:
        one.running, one.problem = None, _words(error)
        await one.up.aclose()
        say(f"{one.name}: {one.problem}")


async def _calm() -> None:
    """Wait until nobody is busy with what remains of an earlier run."""
    deadline = time.monotonic() + LONGEST_UNREST
    psutil.cpu_percent()
    while time.monotonic() < deadline:
        await asyncio.sleep(LOOK)
        if psutil.cpu_percent() < CALM:
            return


async def _run(one: Contestant, what: Measure) -> None:
    done = one.seconds.setdefault(what.name, [])
    if one.running is None or sum(done) > ENOUGH:
        return
    try:
        roots = one.running.processes()
        before = cpu.seconds(roots)
        for _ in range(what.repeats):
            begun = time.perf_counter()
            await asyncio.wait_for(one.running.run(what.work), LONGEST)
            done.append(time.perf_counter() - begun)
        if what.work == CPU.work and roots:
            one.seconds.setdefault(CPU.name, []).append((cpu.seconds(roots) - before) / what.repeats)
    except FAILURES as error:
        one.problems[what.name] = f"given up after {LONGEST:.0f} s" if isinstance(error, TimeoutError) else _words(error)
        # What was given up may still be at it and would be in the way of the others.
        one.running = None
        await one.up.aclose()


def _words(error: Exception) -> str:
    return error.message if isinstance(error, NoetlError) else f"{type(error).__name__}: {error}".strip(": ")
