"""DBOS: a library in one program, its state in PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.peers import environment, program
from benchmarks.peers.peer import Place, Running

REQUIREMENTS = ("dbos==3.4.0", "psycopg[binary]==3.3.9")


class Dbos:
    """DBOS as it comes, its queue polled 20 times a second instead of once, 64 items at a time."""

    name = "DBOS"

    def install(self, environment_folder: Path) -> None:
        """Install it from PyPI."""
        environment.install_python(environment_folder, REQUIREMENTS)

    @contextlib.asynccontextmanager
    async def started(self, place: Place) -> AsyncIterator[Running]:
        """Start its program."""
        async with program.started(place, "dbos", {"BENCH_POSTGRES": program.dsn(place.postgres)}) as running:
            yield running
