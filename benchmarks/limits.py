"""What the machine can do at best: commits of the same PostgreSQL, with fsync on."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from noetl.settings import Postgres
from noetl.store.postgres import connection

SECONDS = 1.5


async def commits(postgres: Postgres, connections: int) -> float:
    """Return single-row INSERT commits a second over so many connections."""
    held = [await asyncpg.connect(**connection(postgres)) for _ in range(connections)]
    try:
        assert await held[0].fetchval("SHOW fsync") == "on"
        await held[0].execute("CREATE TABLE IF NOT EXISTS public.bench_commits (id bigint, body text)")
        deadline = time.perf_counter() + SECONDS

        async def insert(one: asyncpg.Connection) -> int:
            done = 0
            while time.perf_counter() < deadline:
                await one.execute("INSERT INTO public.bench_commits VALUES ($1, $2)", done, "x" * 100)
                done += 1
            return done

        done = sum(await asyncio.gather(*(insert(one) for one in held)))
        await held[0].execute("DROP TABLE public.bench_commits")
        return done / SECONDS
    finally:
        for one in held:
            await one.close()
