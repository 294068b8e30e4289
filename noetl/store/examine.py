"""A look at the database from outside, for those who ask whether it is well: nothing is changed."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import asyncpg

from noetl.settings import Postgres
from noetl.store.migrate import SCHEMA, migrations
from noetl.store.postgres import connection, queries, translated

ROUNDS = 5


@dataclass(frozen=True)
class Examined:
    """What a database is: its version, milliseconds of a round trip, seconds that its clock is ahead of ours, and its migrations.

    `missing` are those to be applied, `unknown` those of a newer noetl, `changed` those that said something else; `made` tells whether
    there is a schema at all.
    """

    version: str
    ms: float
    ahead: float
    made: bool
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    changed: tuple[str, ...]
    last: str


async def examine(postgres: Postgres, within: float) -> Examined:
    """Look at a database; raise Unavailable or Refused where it does not let this user in."""
    with translated(f"{postgres.host}:{postgres.port}/{postgres.database}"):
        held = await asyncpg.connect(**{**connection(postgres), "timeout": within}, server_settings={"search_path": SCHEMA})
        try:
            best, ahead = float("inf"), 0.0
            for _ in range(ROUNDS):
                asked, started = time.time(), time.perf_counter()
                clock = await held.fetchval(queries()["clock"])
                taken = time.perf_counter() - started
                if taken < best:
                    best, ahead = taken, clock - (asked + taken / 2)
            made = await held.fetchval(queries()["schema_exists"], SCHEMA)
            applied = dict(await held.fetch(queries()["migrations_applied"])) if made else {}
            version = held.get_server_version()
        finally:
            await held.close(timeout=1)
    known = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in migrations().items()}
    return Examined(
        version=f"{version.major}.{version.micro}",
        ms=round(best * 1000, 2),
        ahead=ahead,
        made=bool(made),
        missing=tuple(name for name in known if name not in applied),
        unknown=tuple(sorted(applied.keys() - known.keys())),
        changed=tuple(name for name, checksum in applied.items() if known.get(name, checksum) != checksum),
        last=list(known)[-1],
    )
