"""How a worker comes by commands: it hears rings and claims; where NATS is away it long-polls the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from noetl.bus import subjects
from noetl.bus.jetstream import Bus, Rings
from noetl.errors import NoetlError, Unavailable
from noetl.settings import Secret
from noetl.worker.ahead import Ahead
from noetl.worker.api import Api
from noetl.worker.slots import Slots

logger = logging.getLogger("noetl.worker")
Json = Any
LISTEN = 20.0
"""Seconds for which a worker waits for a ring, or polls, before it looks anew."""
PARK = 5.0
"""Seconds for which an idle worker waits at the server before it shows again that it lives."""


class Claims:
    """Keeps a worker's slots full. `take` gets the commands that were claimed, `cancelled` an execution whose commands were revoked."""

    def __init__(
        self,
        api: Api,
        slots: Slots,
        *,
        worker_id: str,
        pool: str,
        nats_url: Secret | None,
        take: Callable[[Sequence[dict[str, Json]], float], Awaitable[None]],
        cancelled: Callable[[str], None],
        ahead: Callable[[], Ahead],
    ) -> None:
        self._api = api
        self._slots = slots
        self._worker_id = worker_id
        self._pool = pool
        self._nats_url = nats_url
        self._take = take
        self._cancelled = cancelled
        self._ahead = ahead
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Claim soon: commands wait that no ring was heard for."""
        self._asked.set()

    async def run(self) -> None:
        """Hear and claim until cancelled."""
        bus = Bus(self._nats_url, f"noetl-worker-{self._worker_id}") if self._nats_url else None
        rings: Rings | None = None
        try:
            while True:
                await self._until_free()
                try:
                    rings = await self._rings(bus, rings)
                    if rings is None:
                        await self._claim(LISTEN)
                    else:
                        await self._hear(rings)
                except Unavailable as error:
                    logger.warning("%s", error.message)
                    rings = None
                    await self._claim_regardless(2.0)
                except NoetlError as error:
                    logger.warning("claiming failed: %s", error.message)
                    await asyncio.sleep(1)
        finally:
            if rings is not None:
                await rings.close()
            if bus is not None:
                await bus.close()

    async def park(self) -> None:
        """Wait at the server while there is nothing to do, until cancelled or draining: the next command may come without a ring."""
        slots = self._slots
        question = {"worker_id": self._worker_id, "pool": self._pool, "park": PARK, "foretell": True}
        while not slots.draining:
            if not slots.idle or slots.free < 2:
                slots.calm.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(slots.calm.wait(), 2)
                continue
            slots.promised += 1
            asked = time.monotonic()
            with self._ahead() as ahead:
                try:
                    answer = await self._api.park(question, ahead)
                except NoetlError as error:
                    logger.debug("waiting at the server: %s", error.message)
                    await asyncio.sleep(1)
                    continue
                finally:
                    slots.promised -= 1
                await self._take(ahead.found(answer["commands"]), asked + answer.get("waited", 0))
            if "waited" not in answer:
                # A server of an earlier version answers at once.
                await asyncio.sleep(PARK)

    async def leave(self) -> None:
        """Have the server answer a worker that waits there."""
        self._slots.calm.set()
        with contextlib.suppress(NoetlError):
            await self._api.claim({"worker_id": self._worker_id, "pool": self._pool, "park": 0})

    async def _rings(self, bus: Bus | None, rings: Rings | None) -> Rings | None:
        """Return the pool's rings, heard anew if need be; None while NATS is away."""
        if bus is None:
            return None
        if not bus.opened:
            await bus.open(wait=3)
            await bus.listen(subjects.CANCELLED, self._revoked)
        if not bus.connected:
            return None
        if rings is None:
            rings = await bus.rings(self._pool)
            await self._claim(0)
        return rings

    async def _hear(self, rings: Rings) -> None:
        """Wait for a ring, or to be asked; claim as many as there is room for."""
        hearing = asyncio.ensure_future(rings.take(max(1, min(self._slots.free, 64)), LISTEN))
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({hearing, asked}, return_when=asyncio.FIRST_COMPLETED)
            self._asked.clear()
            heard = hearing.result() if hearing.done() else []
        finally:
            hearing.cancel()
            asked.cancel()
            await asyncio.gather(hearing, asked, return_exceptions=True)
        await self._claim(0)
        await rings.answered(heard)

    async def _claim(self, seconds: float) -> None:
        """Claim while commands wait and there is room."""
        slots = self._slots
        while (most := slots.free) > 0:
            slots.promised += most
            asked = time.monotonic()
            try:
                question = {"worker_id": self._worker_id, "pool": self._pool, "most": most, "wait": seconds}
                commands = (await self._api.claim(question))["commands"]
            finally:
                slots.promised -= most
            await self._take(commands, asked)
            if len(commands) < most:
                return

    async def _claim_regardless(self, seconds: float) -> None:
        try:
            await self._claim(seconds)
        except NoetlError as error:
            logger.warning("%s", error.message)
            await asyncio.sleep(0.5)

    async def _until_free(self) -> None:
        while self._slots.free == 0:
            self._slots.freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._slots.freed.wait(), 1)

    async def _revoked(self, body: bytes) -> None:
        self._cancelled(body.decode())
