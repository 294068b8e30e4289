"""A limit of time that is set and lifted for every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `late` once its moment has passed. Only one that is earlier than the timer that is there costs a timer of the event loop."""

    def __init__(self, late: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._late = late
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def set(self, seconds: float) -> None:
        """Put it so many seconds from now, wherever it was."""
        self._at = self._loop.time() + seconds
        if self._timer is None or self._due > self._at:
            self._cancel()
            self._wait(self._at)

    def lift(self) -> None:
        """There is no limit until it is set again."""
        self._at = None

    def close(self) -> None:
        """Lift it, and leave no timer behind."""
        self._at = None
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, at: float) -> None:
        self._due = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._loop.time() < self._at:
            self._wait(self._at)
            return
        self._at = None
        self._late()
