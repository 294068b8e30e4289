"""What a peer is: something that can be installed, started, given work, and asked for its processes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from noetl.settings import Postgres

CHECKOUT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Work:
    """Work that every peer is given: a `chain` of steps, a `loop` of items, or `many` executions of three steps."""

    kind: str
    count: int


@dataclass(frozen=True)
class Place:
    """Where a peer runs: its installed environment, a folder for its data that is thrown away, a database of its own."""

    environment: Path
    data: Path
    postgres: Postgres


class Running(Protocol):
    """A peer that is up."""

    async def run(self, work: Work) -> None:
        """Submit work and return when it is done and recorded."""
        ...

    def processes(self) -> list[psutil.Process]:
        """Return the roots of the processes that do the work, the caller's own excluded."""
        ...


class Peer(Protocol):
    """An engine that noetl is measured beside."""

    name: str

    def install(self, environment: Path) -> None:
        """Install it into a folder unless it is there."""
        ...

    def started(self, place: Place) -> AbstractAsyncContextManager[Running]:
        """Start it, and stop it at the end."""
        ...
