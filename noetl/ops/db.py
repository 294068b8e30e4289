"""The server's database: its schema made, checked, and made anew."""

from __future__ import annotations

import asyncio

from noetl.errors import Conflict, UsageError
from noetl.ops import server, stack
from noetl.ops.process import Progress, quiet
from noetl.settings import Postgres, Settings
from noetl.store import migrate

EMBEDDED = "noetl"


def init(settings: Settings, progress: Progress = quiet) -> list[str]:
    """Bring the schema to what this version needs, and return the migrations that were applied now."""
    return asyncio.run(migrate.initialize(stack.start_postgres(settings, progress)))


def validate(settings: Settings, progress: Progress = quiet) -> list[str]:
    """Return in words what differs from the schema that this version needs; empty where nothing does."""
    return asyncio.run(migrate.validate(stack.start_postgres(settings, progress)))


def reset(settings: Settings, confirmed: str = "", progress: Progress = quiet) -> Postgres:
    """Delete everything in the schema and make it anew; outside the embedded stack only if the database's name is given."""
    if confirmed and not settings.postgres and confirmed != EMBEDDED:
        raise UsageError(f"the embedded database is {EMBEDDED!r}, not {confirmed!r}", "POSTGRES_HOST says where another one is")
    if settings.postgres and confirmed != settings.postgres.database:
        where = f"{settings.postgres.database!r} on {settings.postgres.host}"
        raise UsageError(f"this deletes all executions, results and credentials of {where}", f"--database {settings.postgres.database}")
    if up := server.running(settings.home):
        raise Conflict(f"a server uses this database: pid {up[0].pid}, {up[0].url}", "stop it first: noetl server stop")
    database = stack.start_postgres(settings, progress)
    asyncio.run(migrate.reset(database))
    return database
