"""procrastinate: a task queue in PostgreSQL, its worker in one program."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.peers import environment, program
from benchmarks.peers.peer import Place, Running

REQUIREMENTS = ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9")


class Procrastinate:
    """procrastinate, 16 jobs at a time in one worker, woken by LISTEN/NOTIFY, and polling 20 times a second for what that misses."""

    name = "procrastinate"

    def install(self, environment_folder: Path) -> None:
        """Install it from PyPI."""
        environment.install_python(environment_folder, REQUIREMENTS)

    @contextlib.asynccontextmanager
    async def started(self, place: Place) -> AsyncIterator[Running]:
        """Start its program."""
        async with program.started(place, "procrastinate", {"BENCH_POSTGRES": program.dsn(place.postgres)}) as running:
            yield running
