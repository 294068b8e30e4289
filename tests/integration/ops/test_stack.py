"""The embedded PostgreSQL and nats-server, started from their wheels."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from noetl import home as files
from noetl.ops import nats, postgres, process, stack
from noetl.settings import Postgres, Secret, Settings


async def ask(database: Postgres, query: str) -> object:
    connection = await asyncpg.connect(
        host=database.host, port=database.port, user=database.user, password=database.password.reveal(), database=database.database
    )
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_both_start_and_answer(settings: Settings) -> None:
    started = stack.start(settings)
    assert set(started.new) == {"postgres", "nats"}
    assert await ask(started.postgres, "SELECT 1") == 1
    assert await ask(started.postgres, "SHOW fsync") == "on"
    assert await ask(started.postgres, "SHOW shared_buffers") == "128MB"
    assert await ask(started.postgres, "SELECT current_user || ' ' || current_database()") == "noetl noetl"
    embedded = files.read_embedded(settings.home)
    assert embedded.postgres == started.postgres
    assert embedded.playbooks is not None
    assert await ask(embedded.playbooks, "SELECT current_user || ' ' || current_database()") == "playbooks playbooks"
    assert (settings.home / "embedded.json").stat().st_mode & 0o777 == 0o600
    assert (settings.home / "nats.conf").stat().st_mode & 0o777 == 0o600


async def test_playbooks_cannot_enter_the_servers_database(settings: Settings) -> None:
    started = stack.start(settings)
    playbooks = files.read_embedded(settings.home).playbooks
    assert playbooks is not None
    intruder = Postgres(started.postgres.host, started.postgres.port, "noetl", "playbooks", playbooks.password)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ask(intruder, "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(Postgres(started.postgres.host, started.postgres.port, "noetl", "noetl", Secret("wrong")), "SELECT 1")


def test_nats_asks_for_its_token(settings: Settings) -> None:
    url = stack.start_nats(settings)
    port = int(url.reveal().rsplit(":", 1)[1])
    token = url.reveal().removeprefix("nats://").split("@")[0]

    def answer(connect: str) -> str:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            lines = connection.makefile("rb")
            lines.readline()
            connection.sendall(f"CONNECT {connect}\r\nPING\r\n".encode())
            return lines.readline().decode().strip()

    assert answer('{"verbose":false}') == "-ERR 'Authorization Violation'"
    assert answer(f'{{"verbose":false,"auth_token":"{token}"}}') == "PONG"
    entry = nats.find(settings.home)
    assert entry is not None
    assert token not in Path(f"/proc/{entry.pid}/cmdline").read_text()


def test_a_second_start_changes_nothing(settings: Settings) -> None:
    first = stack.start(settings)
    pids = [entry.pid for entry in stack.running(settings.home)]
    second = stack.start(settings)
    assert second.new == ()
    assert (second.postgres, second.nats_url) == (first.postgres, first.nats_url)
    assert [entry.pid for entry in stack.running(settings.home)] == pids


def test_starts_at_the_same_moment_make_one_stack(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stack.start(settings), range(4)))
    assert len({(one.postgres, one.nats_url) for one in found}) == 1
    assert sum(len(one.new) for one in found) >= 2
    assert len(stack.running(settings.home)) == 2


async def test_killed_services_come_back_on_their_ports_with_their_data(settings: Settings) -> None:
    first = stack.start(settings)
    await ask(first.postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    for entry in stack.running(settings.home):
        os.kill(entry.pid, 9)
    begun = time.monotonic()
    second = stack.start(settings)
    assert time.monotonic() - begun < 5
    assert (second.postgres, second.nats_url) == (first.postgres, first.nats_url)
    assert await ask(second.postgres, "SELECT answer FROM kept") == 42


async def test_a_backend_in_the_middle_of_a_query_does_not_stop_the_restart(settings: Settings) -> None:
    first = stack.start_postgres(settings)
    connection = await asyncpg.connect(
        host=first.host, port=first.port, user=first.user, password=first.password.reveal(), database=first.database
    )
    await connection.execute("SET statement_timeout = 0")
    query = connection.execute("SELECT sum(i) FROM generate_series(1, 1000000000) AS i")
    import asyncio

    running = asyncio.ensure_future(query)
    await asyncio.sleep(0.1)
    entry = postgres.find(settings.home)
    assert entry is not None
    os.kill(entry.pid, 9)
    second = await asyncio.to_thread(stack.start_postgres, settings)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await running
    assert await ask(second, "SELECT 1") == 1


async def test_a_taken_port_gets_another(settings: Settings) -> None:
    first = stack.start(settings)
    stack.stop_all(settings)
    with socket.create_server(("127.0.0.1", first.postgres.port)):
        second = stack.start(settings)
    assert second.postgres.port != first.postgres.port
    assert second.postgres.password == first.postgres.password
    assert await ask(second.postgres, "SELECT 1") == 1


async def test_a_postmaster_file_that_names_a_stranger_is_no_obstacle(settings: Settings) -> None:
    stack.start_postgres(settings)
    entry = postgres.find(settings.home)
    assert entry is not None
    stack.stop_all(settings)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        owner = (settings.home / "postgres").stat().st_uid
        file = settings.home / "postgres" / "postmaster.pid"
        file.write_text(f"{stranger.pid}\n{settings.home / 'postgres'}\n1\n5432\n\n127.0.0.1\n\nready\n")
        os.chown(file, owner, -1)
        files.pid_file(settings.home, "postgres").write_text(f"{stranger.pid}\n")
        database = stack.start_postgres(settings)
        assert await ask(database, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_lost_pid_file_is_found_again(settings: Settings) -> None:
    stack.start_postgres(settings)
    before = postgres.find(settings.home)
    process.forget(settings.home, "postgres")
    after = postgres.find(settings.home)
    assert before is not None
    assert after is not None
    assert after.pid == before.pid


def test_they_survive_the_verb_that_started_them(settings: Settings) -> None:
    program = f"""
from pathlib import Path
from noetl.ops import stack
from noetl.settings import Settings
stack.start(Settings(home=Path({str(settings.home)!r})))
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert [entry.service for entry in stack.running(settings.home)] == ["postgres", "nats"]


def test_configured_services_are_not_started(settings: Settings) -> None:
    from dataclasses import replace

    database = Postgres("db.example", 5432, "noetl", "noetl", Secret("x"))
    started = stack.start(replace(settings, postgres=database, nats_url=Secret("nats://bus.example:4222")))
    assert started.new == ()
    assert started.postgres == database
    assert stack.running(settings.home) == []


def test_stop_leaves_nothing(settings: Settings) -> None:
    stack.start(settings)
    pids = [one.pid for entry in stack.running(settings.home) for one in process.tree(entry)]
    assert len(pids) > 5
    assert len(stack.stop_all(settings)) == 2
    assert stack.stop_all(settings) == []
    assert not [pid for pid in pids if _lives(pid)]
    assert not list(settings.home.glob("*.pid"))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
