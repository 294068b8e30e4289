"""Finds what was forgotten: leases that ran out, commands that nobody claimed, executions whose moment has passed."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from noetl.engine.inputs import Wake
from noetl.errors import NoetlError

if TYPE_CHECKING:
    from noetl.server.runtime import Runtime

logger = logging.getLogger("noetl.server")
MAX_LOST = 3
"""How many workers a command may lose before it is quarantined."""
UNCLAIMED = timedelta(seconds=3)
FILES_KEPT = timedelta(days=7)
"""How long the DuckDB file of an execution that is over is kept, for one that continues it."""
INTERVAL = 2.5
"""Seconds between sweeps; half a lease where that is less."""


class Sweeper:
    """One short transaction each time; of several servers only one sweeps at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._away = time.time()

    def unheard(self) -> None:
        """Note that a worker was not heard because the database was away; it gets the time of a lease to be heard again."""
        self._away = time.time()

    async def run(self) -> None:
        """Sweep until cancelled; what goes wrong is logged and tried again."""
        interval = min(INTERVAL, self._runtime.settings.lease_seconds / 2)
        while True:
            before = time.time()
            await asyncio.sleep(interval)
            if time.time() - before > interval + 1:
                self.unheard()
            try:
                await self.sweep()
            except NoetlError as error:
                self.unheard()
                logger.warning("the sweep failed: %s", error.message)
            except Exception:
                self.unheard()
                logger.exception("the sweep failed")

    async def sweep(self) -> None:
        """Do it once."""
        runtime = self._runtime
        async with runtime.database.transaction() as transaction:
            asked = time.monotonic()
            row = await transaction.row("sweep_lock")
            assert row is not None
            runtime.clock.told(row["at"], asked, time.monotonic())
            if not row["alone"]:
                return
            # Where this server or the database was away, the workers could not extend their leases: they get the time for it first.
            heard = time.time() - self._away > runtime.settings.lease_seconds
            lost = await transaction.rows("sweep_leases", MAX_LOST - 1) if heard else []
            quarantined = await transaction.rows("sweep_quarantined", MAX_LOST - 1) if heard else []
            unclaimed = await transaction.rows("sweep_unclaimed", UNCLAIMED)
            due = await transaction.rows("sweep_due")
            await transaction.rows("sweep_workers", runtime.lease * 2)
            await transaction.rows("sweep_uploads", runtime.lease * 4)
            await transaction.rows("sweep_files", runtime.lease * 4)
            await transaction.rows("sweep_files_settled", runtime.lease * 4)
            await transaction.rows("sweep_files_old", FILES_KEPT)
        for row in quarantined:
            self._quarantine(row["execution_id"], row["command_id"], row["fence"], row["lost"] + 1)
        for row in due:
            runtime.committer.signal(row["execution_id"], Wake(runtime.clock()))
        if lost:
            logger.warning("%d leases ran out; their commands wait again", len(lost))
            runtime.ring((row["pool"], row["execution_id"], row["command_id"]) for row in lost)
        await runtime.pauses.sweep()
        await runtime.children.sweep()
        await self._ring_again([(row["pool"], row["execution_id"], row["command_id"]) for row in unclaimed])

    async def _ring_again(self, commands: list[tuple[str, int, int]]) -> None:
        """Ring for commands that wait while no ring of their pool does."""
        bus = self._runtime.bus
        if bus is None or not bus.connected:
            return
        for pool in sorted({pool for pool, _, _ in commands}):
            waiting = await bus.waiting(pool)
            if waiting is None:
                try:
                    await bus.ensure_stream()
                except NoetlError as error:
                    logger.warning("%s", error.message)
            if not waiting:
                self._runtime.ring(command for command in commands if command[0] == pool)

    def _quarantine(self, execution_id: int, command_id: int, fence: int, lost: int) -> None:
        hint = "see in the worker's log what killed it: noetl worker logs"
        error = {"message": f"the worker died under this step {lost} times", "type": "quarantined", "hint": hint}
        self._runtime.committer.report(execution_id, command_id, fence, None, error)
