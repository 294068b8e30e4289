"""The time that servers write down: PostgreSQL's, so that it means the same to all of them and to every query."""

from __future__ import annotations

import time

from noetl.store.postgres import Database

ROUNDS = 3


class Clock:
    """Tells the time of the database; between two looks at it, this machine's monotonic clock goes on from there."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return the time as seconds since 1970."""
        return time.monotonic() + self._base

    async def set(self, database: Database) -> None:
        """Ask the database a few times: the quickest answer says it best."""
        for _ in range(ROUNDS):
            asked = time.monotonic()
            self.told((await database.rows("clock"))[0][0], asked, time.monotonic())

    def told(self, at: float, asked: float, heard: float) -> None:
        """Take in that the database's time was this at a moment between two of the monotonic clock; what fits already stays."""
        self._base = min(max(self._base, at - heard), at - asked)
