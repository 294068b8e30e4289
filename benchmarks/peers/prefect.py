"""Prefect: its server on PostgreSQL, and a program that calls flows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.peers import environment, program
from benchmarks.peers.peer import Place, Running
from benchmarks.stack import free_port

REQUIREMENTS = ("prefect==3.9.1", "asyncpg==0.32.0")


class Prefect:
    """Prefect's server on PostgreSQL; flows are called in the program, which spares Prefect the start of a process for each."""

    name = "Prefect"

    def install(self, environment_folder: Path) -> None:
        """Install it from PyPI."""
        environment.install_python(environment_folder, REQUIREMENTS)

    @contextlib.asynccontextmanager
    async def started(self, place: Place) -> AsyncIterator[Running]:
        """Start its server, then its program."""
        port = free_port()
        settings = {
            "PREFECT_HOME": str(place.data / "prefect"),
            "PREFECT_API_DATABASE_CONNECTION_URL": program.dsn(place.postgres, "postgresql+asyncpg"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_UI_ENABLED": "false",
        }
        words = [str(place.environment / "bin" / "python"), "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        async with environment.running(words, place.data, "server.log", settings) as server:
            await environment.until_open(port, server, place.data / "server.log")
            async with program.started(place, "prefect", settings) as running:
                yield running
