"""Workers that wait here with nothing to do: the next command of their pool is leased to one of them in the commit that issues it.

So the start of an execution costs neither a ring nor a claim (docs/decisions/0020-idle-workers-wait-at-a-server.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from noetl.server.listeners import wait
from noetl.server.pending import Handout


class Parked:
    """The handouts of idle workers by pool, those that wait longest first. Each takes one command."""

    def __init__(self) -> None:
        self._by_pool: dict[str, dict[str, Handout]] = {}
        self._closed = False

    def offer(self, pool: str) -> Handout | None:
        """Return the handout of a worker that takes a command of this pool."""
        for handout in self._by_pool.get(pool, {}).values():
            if handout.free > 0:
                handout.offered = time.monotonic()
                return handout
        return None

    def leave(self, pool: str, worker_id: str) -> None:
        """Answer a worker's request now; one that was just given a command gets it."""
        if (handout := self._by_pool.get(pool, {}).get(worker_id)) is not None:
            handout.free = 0
            handout.settle()

    def close(self) -> None:
        """Answer everybody: the server stops."""
        self._closed = True
        for handouts in self._by_pool.values():
            for handout in handouts.values():
                handout.free = 0
                handout.settle()

    async def wait(self, handout: Handout, seconds: float, hung_up: Callable[[], Awaitable[None]]) -> bool:
        """Wait until a command is leased to the worker, or for so long; return whether the worker is still there.

        What was leased is in `handout.commands`.
        """
        if self._closed:
            return True
        handouts = self._by_pool.setdefault(handout.pool, {})
        if (earlier := handouts.pop(handout.worker_id, None)) is not None:
            earlier.free = 0
            earlier.settle()
        handouts[handout.worker_id] = handout
        settled = handout.settled = asyncio.Event()
        gone = asyncio.ensure_future(hung_up())
        gone.add_done_callback(lambda _: settled.set())
        try:
            await wait(settled, seconds)
            # A command that is already meant for this worker is committed, or taken back, in a moment.
            while True:
                settled.clear()
                if handout.free > 0 or not handout.commands or handout.leased:
                    break
                await settled.wait()
            return not gone.done()
        finally:
            handout.free = 0
            if handouts.get(handout.worker_id) is handout:
                del handouts[handout.worker_id]
            gone.cancel()
