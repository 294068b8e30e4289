"""Who waits for something to happen here: readers of an execution's events, workers that long-poll a pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from noetl.engine.state import TERMINAL
from noetl.server.execution import Execution

LOOK_AGAIN = 2.0
"""Seconds after which whoever watches an execution looks for what another server has written of it."""


class Watch:
    """What one who waits has heard. `news` says that something happened since it was cleared, `ended` that nothing more will.

    `execution` is one that has moved on here, as it is in memory; None while nothing was heard of it.
    """

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.ended = asyncio.Event()
        self.execution: Execution | None = None

    @property
    def events(self) -> int:
        """How many events the execution had when it last moved here."""
        return self.execution.state.next_event - 1 if self.execution is not None else 0


class Listeners:
    """Watches by key. A wait is always bounded: what happens at another server is found by looking again."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, set[Watch]] = {}
        self.closed = False

    def moved(self, execution: Execution) -> None:
        """Tell those who watch an execution that it has moved on."""
        for watch in self._waiting.get(("execution", execution.id), ()):
            watch.execution = execution
            watch.news.set()
            if execution.state.status in TERMINAL:
                watch.ended.set()

    def ring(self, pool: str) -> None:
        """Wake workers that long-poll a pool."""
        for watch in self._waiting.get(("pool", pool), ()):
            watch.news.set()

    def close(self) -> None:
        """Wake everybody: the server stops."""
        self.closed = True
        for watches in self._waiting.values():
            for watch in watches:
                watch.news.set()
                watch.ended.set()

    @asynccontextmanager
    async def watch(self, *key: Hashable) -> AsyncIterator[Watch]:
        """Listen for a key; the caller clears `news` before it looks."""
        watch = Watch()
        if self.closed:
            watch.news.set()
            watch.ended.set()
        self._waiting.setdefault(key, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._waiting[key]
            watches.discard(watch)
            if not watches:
                del self._waiting[key]


async def wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but no longer than so many seconds; return whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
