"""Real services for the tests: one PostgreSQL and one nats-server a session, a fresh database a test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine import base_image, checkout, engine, registry
from kube import cluster, namespace
from live import Live, playbooks_folder, stopping

from noetl import home as files
from noetl import settings as configuration
from noetl.ops import postgres as embedded_postgres
from noetl.ops import stack
from noetl.settings import Postgres, Secret

__all__ = ["base_image", "checkout", "cluster", "engine", "namespace", "registry"]
ROOT = Path(__file__).parent.parent
TEMPLATE = "noetl_template"
CONTAINERS = {"engine", "cluster"}
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Take a terminal's signals by default: behind `nohup` and `&` they are ignored, and what the tests start inherits that."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the folder that it is in, and those of a Docker Engine or a cluster by what they ask for."""
    for item in items:
        tier = item.path.relative_to(ROOT / "tests").parts[0]
        if tier in ("integration", "acceptance"):
            item.add_marker(tier)
        if CONTAINERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("containers")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caller's own noetl, database and NATS out of the tests."""
    for name in os.environ:
        if name.startswith(("NOETL_", "POSTGRES_", "NATS_")) and not name.startswith("NOETL_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def embedded_home() -> Iterator[Path]:
    """The NOETL_HOME of the session's services."""
    with tempfile.TemporaryDirectory(prefix="noetl-tests-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        settings = configuration.Settings(home=home)
        try:
            stack.start(settings)
            yield home
        finally:
            stack.stop_all(settings, force=True, timeout=5)


@pytest.fixture(scope="session")
def embedded(embedded_home: Path) -> files.Embedded:
    """The session's PostgreSQL and nats-server, started from the wheels."""
    return files.read_embedded(embedded_home)


@pytest.fixture(scope="session")
def superuser_sql(embedded_home: Path, embedded: files.Embedded) -> Callable[..., str]:
    """Run SQL as the superuser of the session's PostgreSQL and return what psql prints."""
    assert embedded.postgres is not None
    way_in = embedded_postgres.superuser(embedded_home, embedded.postgres.port)

    def run(sql: str, database: str = "postgres") -> str:
        command = [embedded_postgres.program_path("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", way_in.host, "-p", str(way_in.port)]
        return subprocess.run(
            [*command, "-U", way_in.user, "-d", database],
            input=sql,
            env={**os.environ, "PGPASSWORD": way_in.password.reveal(), "PGOPTIONS": "-c client_min_messages=warning"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    return run


@pytest.fixture(scope="session")
def template(embedded: files.Embedded, superuser_sql: Callable[..., str]) -> str:
    """The name of a database that has the schema; each test's own is a copy of it."""
    from noetl.store import migrate

    assert embedded.postgres is not None
    superuser_sql(f"CREATE DATABASE {TEMPLATE} OWNER noetl")
    asyncio.run(migrate.initialize(replace(embedded.postgres, database=TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def postgres(embedded: files.Embedded, template: str, superuser_sql: Callable[..., str]) -> Iterator[Postgres]:
    """A fresh database with the schema, for this test alone."""
    assert embedded.postgres is not None
    yield from _database(embedded.postgres, superuser_sql, f"TEMPLATE {template}")


@pytest.fixture
def empty_postgres(embedded: files.Embedded, superuser_sql: Callable[..., str]) -> Iterator[Postgres]:
    """A fresh database without anything in it, for this test alone."""
    assert embedded.postgres is not None
    yield from _database(embedded.postgres, superuser_sql, "")


def _database(way_in: Postgres, superuser_sql: Callable[..., str], like: str) -> Iterator[Postgres]:
    name = f"t_{os.getpid()}_{next(_numbers)}"
    superuser_sql(f"CREATE DATABASE {name} OWNER noetl {like}")
    try:
        yield replace(way_in, database=name)
    finally:
        superuser_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def nats_url(embedded: files.Embedded) -> Secret:
    """The URL of the session's nats-server, its token included."""
    assert embedded.nats_url is not None
    return embedded.nats_url


@pytest.fixture(scope="session")
def outside(embedded: files.Embedded, superuser_sql: Callable[..., str]) -> Iterator[Postgres]:
    """A database with a role of its own, for what playbooks write."""
    assert embedded.postgres is not None
    name = f"outside_{os.getpid()}"
    superuser_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'outside-password';\nCREATE DATABASE {name} OWNER {name}")
    try:
        yield replace(embedded.postgres, database=name, user=name, password=Secret("outside-password"))
    finally:
        superuser_sql(f"DROP DATABASE {name} WITH (FORCE);\nDROP ROLE {name}")


@pytest.fixture(scope="session")
def make_live(
    embedded: files.Embedded, template: str, superuser_sql: Callable[..., str], outside: Postgres
) -> Callable[..., contextlib.AbstractContextManager[Live]]:
    """Make a platform without any process yet, on a fresh database and the session's services."""

    @contextlib.contextmanager
    def make(more: dict[str, str] | None = None) -> Iterator[Live]:
        assert embedded.postgres is not None and embedded.nats_url is not None
        fresh = contextlib.contextmanager(_database)(embedded.postgres, superuser_sql, f"TEMPLATE {template}")
        folder = tempfile.TemporaryDirectory(prefix="noetl-live-", ignore_cleanup_errors=True)
        with folder as home, fresh as database, stopping(Live(Path(home), database, embedded.nats_url, outside, dict(more or {}))) as one:
            yield one

    return make


@pytest.fixture(scope="session")
def live(make_live: Callable[..., contextlib.AbstractContextManager[Live]]) -> Iterator[Live]:
    """One server and one worker for all tests that leave them alone."""
    with make_live() as one:
        one.server()
        one.worker()
        yield one


@pytest.fixture(scope="session")
def shared_playbooks() -> Path:
    """A folder of playbooks with what each must give."""
    folder = playbooks_folder()
    if not (folder / "expected.yaml").is_file():
        pytest.skip(f"LOUD SKIP: no folder of playbooks at {folder}; set NOETL_TEST_PLAYBOOKS to one")
    return folder
