"""Leases are taken away from workers that could be heard, and from no others."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from noetl.errors import Unavailable
from noetl.server.clock import Clock
from noetl.server.routes.workers import heartbeat
from noetl.server.runtime import Runtime
from noetl.server.sweeper import Sweeper

LEASE = 30.0


class Database:
    """Knows no rows, notes what it is asked, and refuses what `refused` names: a healthy one is never away for one question alone."""

    def __init__(self, refused: str = "") -> None:
        self.asked: list[str] = []
        self._refused = refused

    async def row(self, name: str, *_args: Any) -> dict[str, Any] | None:
        self.asked.append(name)
        if name == self._refused:
            raise Unavailable("the database does not answer", "see: noetl ps")
        return {"alone": True, "at": 0.0} if name == "sweep_lock" else None

    async def rows(self, name: str, *_args: Any) -> list[Any]:
        self.asked.append(name)
        return []

    async def run(self, name: str, *_args: Any) -> int:
        self.asked.append(name)
        return 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Database]:
        yield self


async def nothing() -> None:
    """Sweep nothing."""


def runtime(database: Database) -> Runtime:
    sweeps = SimpleNamespace(sweep=nothing)
    made = SimpleNamespace(
        database=database,
        settings=SimpleNamespace(lease_seconds=LEASE),
        lease=timedelta(seconds=LEASE),
        clock=Clock(),
        pauses=sweeps,
        children=sweeps,
        bus=None,
    )
    made.sweeper = Sweeper(cast(Runtime, made))
    return cast(Runtime, made)


def beat(server: Runtime) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"worker_id": "w", "held": []}).encode(), "more_body": False}

    app = SimpleNamespace(state=SimpleNamespace(runtime=server))
    return Request({"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "app": app}, receive)


async def test_a_heartbeat_that_the_database_missed_gives_all_workers_the_time_of_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("noetl.server.sweeper.time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    database = Database(refused="heartbeat_worker")
    server = runtime(database)

    async def takes() -> bool:
        database.asked.clear()
        await server.sweeper.sweep()
        return "sweep_leases" in database.asked

    assert not await takes(), "a server that has just started has heard nobody yet"
    now += LEASE + 1
    assert await takes()
    with pytest.raises(Unavailable):
        await heartbeat(beat(server))
    assert not await takes()
    now += LEASE + 1
    assert await takes()
