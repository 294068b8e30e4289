"""The server comes to the embedded PostgreSQL by a socket in its folder, and over TCP where there is none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from noetl.ops import postgres, stack
from noetl.settings import Postgres, Settings
from noetl.store.postgres import connection


async def came_from(database: Postgres, folder: Path) -> str | None:
    """Return the address by which PostgreSQL sees a connection come; None for its socket."""
    held = await asyncpg.connect(**connection(replace(database, sockets=str(folder))))
    try:
        found: str | None = await held.fetchval("SELECT host(inet_client_addr())")
        return found
    finally:
        await held.close()


async def test_the_socket_is_taken_and_asks_for_the_password(settings: Settings) -> None:
    database = stack.start_postgres(settings)
    folder = settings.home / "postgres"
    assert await came_from(database, folder) is None
    assert await came_from(database, settings.home) == "127.0.0.1", "there is none"
    assert folder.stat().st_mode & 0o077 == 0
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=str(folder), port=database.port, user=database.user, database=database.database, password="none")
    stack.stop_all(settings)
    assert list(folder.glob(".s.PGSQL.*")) == []


async def test_what_a_killed_postgres_leaves_is_no_obstacle(settings: Settings) -> None:
    database = stack.start_postgres(settings)
    entry = postgres.find(settings.home)
    assert entry is not None
    os.kill(entry.pid, signal.SIGKILL)
    left = settings.home / "postgres" / f".s.PGSQL.{database.port}.lock"
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        lines = left.read_text().splitlines()
        left.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert stack.start_postgres(settings) == database
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert await came_from(database, settings.home / "postgres") is None


async def test_where_there_can_be_no_socket_it_starts_without(tmp_path: Path) -> None:
    deep = Settings(home=tmp_path / ("deep" * 25))
    try:
        database = stack.start_postgres(deep)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried, pytest.raises(OSError, match="too long"):
            tried.connect(str(deep.home / "postgres" / f".s.PGSQL.{database.port}"))
        assert await came_from(database, deep.home / "postgres") == "127.0.0.1"
    finally:
        stack.stop_all(deep, force=True, timeout=5)
