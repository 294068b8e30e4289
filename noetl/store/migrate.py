"""The schema: made by numbered migrations, compared with what they make."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

import asyncpg

from noetl.errors import NoetlError
from noetl.settings import Postgres
from noetl.store.postgres import connection, queries, translated

SCHEMA = "noetl"
EXTRA = "is there and should not be"
"""How a difference ends that is something more than the migrations make: an index that somebody added hurts nobody."""


class UnknownMigration(NoetlError):
    """The database was made by a newer noetl."""

    code = "newer_schema"


class ChangedMigration(NoetlError):
    """The database was made by a version whose migration of the same name said something else."""

    code = "other_schema"


def migrations() -> dict[str, str]:
    """Return the migrations' texts by name, in order."""
    folder = resources.files("noetl.store") / "migrations"
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
        for file in sorted(folder.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".sql")
    }


async def initialize(postgres: Postgres) -> list[str]:
    """Bring the schema up to date and return the names of the migrations that were applied; nothing happens where it is."""
    where = f"{postgres.host}:{postgres.port}/{postgres.database}"
    with translated(where):
        held = await asyncpg.connect(**connection(postgres))
        try:
            async with held.transaction():
                await held.execute(queries()["migrate_lock"])
                await held.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
                return await _apply(held, SCHEMA)
        finally:
            await held.close()


async def validate(postgres: Postgres) -> list[str]:
    """Return in words how the schema differs from what the migrations make; an empty list means that it is as it should be."""
    where = f"{postgres.host}:{postgres.port}/{postgres.database}"
    with translated(where):
        held = await asyncpg.connect(**connection(postgres))
        try:
            there = await held.fetchval(queries()["schema_exists"], SCHEMA)
            if not there:
                return [f"schema {SCHEMA} is missing"]
            transaction = held.transaction()
            await transaction.start()
            try:
                found = dict(await held.fetch(queries()["schema_shape"], SCHEMA))
                await held.execute("CREATE SCHEMA noetl_expected")
                await _apply(held, "noetl_expected")
                expected = dict(await held.fetch(queries()["schema_shape"], "noetl_expected"))
            finally:
                await transaction.rollback()
        finally:
            await held.close()
    missing = [f"{thing} is missing" for thing in sorted(expected.keys() - found.keys())]
    extra = [f"{thing} {EXTRA}" for thing in sorted(found.keys() - expected.keys())]
    other = [
        f"{thing} is {found[thing]!r} instead of {expected[thing]!r}"
        for thing in sorted(expected.keys() & found.keys())
        if expected[thing] != found[thing]
    ]
    return missing + extra + other


async def reset(postgres: Postgres) -> list[str]:
    """Drop the schema with all that is in it and make it anew."""
    with translated(f"{postgres.host}:{postgres.port}/{postgres.database}"):
        held = await asyncpg.connect(**connection(postgres))
        try:
            await held.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        finally:
            await held.close()
    return await initialize(postgres)


async def _apply(held: Any, schema: str) -> list[str]:
    await held.execute(f"SET LOCAL search_path = {schema}")
    await held.execute(queries()["migrations_table"])
    applied = dict(await held.fetch(queries()["migrations_applied"]))
    known = migrations()
    newer = sorted(applied.keys() - known.keys())
    if newer:
        raise UnknownMigration(
            f"the database has migrations that this version does not know: {', '.join(newer)}",
            "install the newer noetl: pip install -U noetl",
        )
    checksums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in known.items()}
    if changed := [name for name, checksum in applied.items() if checksum != checksums[name]]:
        raise ChangedMigration(
            f"the database was made by another {changed[0]} than this version's",
            "install the noetl that made it; or delete everything and make it anew: noetl db reset",
        )
    done = []
    for name, text in known.items():
        if name not in applied:
            await held.execute(text)
            await held.execute(queries()["migration_done"], name, checksums[name])
            done.append(name)
    return done
