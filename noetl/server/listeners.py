"""Who waits for something to happen here: readers of an execution's events, workers that long-poll a pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Listeners:
    """Events by key. A wait is always bounded: what happens at another server is found by looking again."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[asyncio.Event]] = {}
        self.closed = False

    def moved(self, execution_id: int) -> None:
        """Wake those who watch an execution."""
        self._wake(("execution", execution_id))

    def ring(self, pool: str) -> None:
        """Wake workers that long-poll a pool."""
        self._wake(("pool", pool))

    def close(self) -> None:
        """Wake everybody: the server stops."""
        self.closed = True
        for key in list(self._waiting):
            self._wake(key)

    @asynccontextmanager
    async def watch(self, *key: Hashable) -> AsyncIterator[asyncio.Event]:
        """Listen for a key; the caller clears the event before it looks."""
        event = asyncio.Event()
        if self.closed:
            event.set()
        self._waiting.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            events = self._waiting[key]
            events.discard(event)
            if not events:
                del self._waiting[key]

    def _wake(self, key: Hashable) -> None:
        for event in self._waiting.get(key, ()):
            event.set()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than so many seconds."""
    with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
