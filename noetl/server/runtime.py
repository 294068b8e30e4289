"""The parts of a running server, wired once."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from noetl import __version__
from noetl.bus import subjects
from noetl.bus.jetstream import Bus
from noetl.engine.state import TERMINAL
from noetl.errors import NoetlError, Unavailable
from noetl.server.children import Children
from noetl.server.chunks import Chunks
from noetl.server.clock import Clock
from noetl.server.committer import Committer
from noetl.server.content import Contents
from noetl.server.evaluator import Evaluator
from noetl.server.execution import Execution
from noetl.server.files import Files
from noetl.server.leaving import Leaving
from noetl.server.listeners import Listeners
from noetl.server.loader import Loader
from noetl.server.parked import Parked
from noetl.server.pauses import Pauses
from noetl.server.pending import ENGINE
from noetl.server.sweeper import Sweeper
from noetl.server.vault import Vault, read_key, verify
from noetl.settings import Postgres, Secret, Settings
from noetl.store import migrate
from noetl.store.postgres import Database

logger = logging.getLogger("noetl.server")
EPOCH = 1_704_067_200_000
"""2024-01-01 in milliseconds: where execution ids begin."""
CLOCKS_APART = 300.0
"""Seconds that the clocks of two servers may be apart, where an id is taken for a time."""

RINGS, SHARE = 32, 8
"""A commit rings once for 8 commands of a pool, but no more than 32 times: a worker that hears one claims all that it has slots for."""


class Runtime:
    """Everything that the routes need. `open` connects, `close` lets go."""

    def __init__(self, settings: Settings, postgres: Postgres, playbooks: Postgres | None, nats_url: Secret | None, token: Secret) -> None:
        self.settings = settings
        self.postgres = postgres
        self.playbooks = playbooks
        self.nats_url = nats_url
        self.token = token
        self.started_at = time.time()
        self.clock = Clock()
        self.database = Database(postgres)
        self.bus = Bus(nats_url, f"noetl-server-{os.getpid()}") if nats_url else None
        self.loader = Loader(self.database)
        self.chunks = Chunks(self.database, self.loader, settings.max_result)
        self.files = Files(self.database, settings.max_result)
        self.evaluator = Evaluator(self.chunks.stream, settings.max_result)
        self.listeners = Listeners()
        self.parked = Parked()
        self.contents = Contents(self.loader, settings.max_result)
        self.vault = Vault(read_key(settings))
        self.lease = timedelta(seconds=settings.lease_seconds)
        self.committer = Committer(
            self.database,
            self.loader,
            self.evaluator,
            env=settings.playbook_env,
            lease_seconds=settings.lease_seconds,
            ring=self.ring,
            moved=self.moved,
            tell=self.contents.foretold,
            at_hand=self.contents.at_hand,
            offer=self.parked.offer,
            clock=self.clock,
        )
        self.children = Children(self)
        self.pauses = Pauses(self)
        self.sweeper = Sweeper(self)
        self.waiting: set[str] = set()
        self._rung: dict[str, list[tuple[str, int, int]]] = {}
        self.leaving = Leaving(settings.leave_seconds, settings.leave_limit)
        self.stopping = asyncio.Event()
        self._node = random.SystemRandom().randrange(4096)
        self._sequence = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect to the database and NATS; refuse a database without schema or with another key."""
        await self.database.open()
        differences = [found for found in await migrate.validate(self.postgres) if not found.endswith(migrate.EXTRA)]
        if differences:
            raise NoetlError(
                f"the schema in {self.database.where} is not as it should be: {differences[0]}"
                + (f" (and {len(differences) - 1} more)" if differences[1:] else ""),
                "make or update it: noetl db init (or start with --init-db)",
                code="schema",
            )
        await verify(self.vault, self.database)
        await self.clock.set(self.database)
        self.committer.start()
        if self.bus is not None:
            await self._connect_bus(self.bus)
        self.spawn(self.sweeper.run())

    async def close(self) -> None:
        """Stop taking things in, finish the commit under way, let go of connections and children."""
        self.stopping.set()
        self.listeners.close()
        self.parked.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.committer.close()
        await self.evaluator.close()
        if self.bus is not None:
            await self.bus.close()
        await self.database.close()

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run something beside; it is kept until it ends."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def ring(self, commands: Iterable[tuple[str, int, int]]) -> None:
        """Tell workers that commands wait: over NATS, those that long-poll this server, and those that report here."""
        by_pool: dict[str, list[tuple[str, int, int]]] = {}
        for command in commands:
            by_pool.setdefault(command[0], []).append(command)
        for _, execution_id, command_id in by_pool.pop(ENGINE, ()):
            self.children.begin(execution_id, command_id)
        if self.bus is not None and by_pool and not self._rung:
            asyncio.get_running_loop().call_soon(self._publish)
        for pool, found in by_pool.items():
            self.waiting.add(pool)
            self.listeners.ring(pool)
            if self.bus is not None:
                self._rung.setdefault(pool, []).extend(found)

    def ring_on(self, pool: str) -> None:
        """Wake another worker: one that has asked was given all it has room for."""
        if self.bus is not None:
            self.spawn(self.bus.ring([(pool, 0, 0)]))

    def _publish(self) -> None:
        """Ring over NATS for what a commit has left waiting, once for a few commands: a worker that cannot take more has it rung on."""
        rung, self._rung = self._rung, {}
        if self.bus is not None:
            wanted = [command for found in rung.values() for command in found[: min(RINGS, -(-len(found) // SHARE))]]
            self.spawn(self.bus.ring(wanted))

    def moved(self, execution: Execution, revoked: bool) -> None:
        """Tell whoever watches an execution that it has moved on, and workers when commands of it were revoked."""
        self.listeners.moved(execution)
        if revoked and self.bus is not None:
            self.spawn(self.bus.tell(subjects.CANCELLED, str(execution.id).encode()))
        if execution.state.status in TERMINAL:
            self.children.ended(execution)
        elif revoked:
            self.children.stopped(execution)

    def execution_id(self) -> int:
        """Return a new execution id: milliseconds, a number of this process, a counter."""
        self._sequence = (self._sequence + 1) % 1024
        return (int(self.clock() * 1000) - EPOCH) << 22 | self._node << 10 | self._sequence

    def first_id(self, at: float) -> int:
        """Return an id below those of all executions that begin at a moment or later."""
        return max(0, int((at - CLOCKS_APART) * 1000) - EPOCH) << 22

    def describe(self) -> dict[str, Any]:
        """Return what the health endpoint says."""
        return {"status": "ok", "version": __version__, "pid": os.getpid(), "started_at": self.started_at}

    async def _connect_bus(self, bus: Bus) -> None:
        try:
            await bus.open()
            await bus.ensure_stream()
        except Unavailable as error:
            logger.warning("%s; workers long-poll until it is back", error.message)
            self.spawn(self._retry_bus(bus))

    async def _retry_bus(self, bus: Bus) -> None:
        while True:
            await asyncio.sleep(3)
            try:
                if not bus.connected:
                    await bus.open()
                await bus.ensure_stream()
            except Unavailable:
                continue
            logger.info("NATS is back")
            return

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task failed: %r", task.exception(), exc_info=task.exception())
