"""The embedded services that the settings leave to noetl: PostgreSQL and nats-server, started and stopped together."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noetl import home as files
from noetl.ops import nats, postgres, process
from noetl.ops.process import Progress, Record, quiet
from noetl.settings import Postgres, Secret, Settings


@dataclass(frozen=True)
class Started:
    """The services that a server needs, and the names of those that were started for it just now."""

    postgres: Postgres
    nats_url: Secret
    new: tuple[str, ...]


def start(settings: Settings, progress: Progress = quiet) -> Started:
    """Start what is missing of the embedded services; those that the settings place elsewhere are left alone."""
    with lock(settings.home, progress=progress):
        recorded = embedded = files.read_embedded(settings.home)
        new = missing(settings)
        bus = None if settings.nats_url else nats.begin(settings.home, recorded)
        try:
            if not settings.postgres:
                made = postgres.start(settings.home, recorded, progress)
                embedded = replace(embedded, postgres=made.noetl, playbooks=made.playbooks)
            if bus is not None:
                embedded = replace(embedded, nats_url=nats.wait(bus, progress))
        finally:
            if embedded != recorded:
                files.write_embedded(settings.home, embedded)
    for name in new:
        progress(f"{name}: started")
    found = settings.postgres or embedded.postgres
    url = settings.nats_url or embedded.nats_url
    if found is None or url is None:
        raise AssertionError("both were started or configured")
    return Started(found, url, tuple(new))


def start_postgres(settings: Settings, progress: Progress = quiet) -> Postgres:
    """Return the database of the settings, or start the embedded PostgreSQL and return its database."""
    if settings.postgres:
        return settings.postgres
    with lock(settings.home, progress=progress):
        recorded = files.read_embedded(settings.home)
        made = postgres.start(settings.home, recorded, progress)
        files.write_embedded(settings.home, replace(recorded, postgres=made.noetl, playbooks=made.playbooks))
    return made.noetl


def start_nats(settings: Settings, progress: Progress = quiet) -> Secret:
    """Return the NATS URL of the settings, or start the embedded nats-server and return its URL."""
    if settings.nats_url:
        return settings.nats_url
    with lock(settings.home, progress=progress):
        recorded = files.read_embedded(settings.home)
        url = nats.start(settings.home, recorded, progress)
        files.write_embedded(settings.home, replace(recorded, nats_url=url))
    return url


def missing(settings: Settings) -> list[str]:
    """Return the names of the embedded services that the settings need and that do not run."""
    names = []
    if not settings.postgres and postgres.find(settings.home) is None:
        names.append(postgres.SERVICE)
    if not settings.nats_url and nats.find(settings.home) is None:
        names.append(nats.SERVICE)
    return names


def running(home: Path) -> list[Record]:
    """Return the embedded services that run."""
    return [entry for entry in (postgres.find(home), nats.find(home)) if entry is not None]


def stop_all(settings: Settings, *, timeout: float = process.STOP_TIMEOUT, force: bool = False, progress: Progress = quiet) -> list[Record]:
    """Stop the embedded services of this home and return those that ran."""
    with lock(settings.home, progress=progress):
        stopped = (
            nats.stop(settings.home, timeout=timeout, force=force, progress=progress),
            postgres.stop(settings.home, timeout=timeout, force=force, progress=progress),
        )
    return [entry for entry in stopped if entry is not None]


def stop_new(settings: Settings, names: Sequence[str], progress: Progress = quiet) -> None:
    """Stop those of the embedded services, whatever state they are in."""
    with lock(settings.home, progress=progress):
        for name in names:
            (nats if name == nats.SERVICE else postgres).stop(settings.home, force=True, progress=progress)


@contextlib.contextmanager
def lock(home: Path, name: str = "stack", progress: Progress = quiet) -> Iterator[None]:
    """Let one verb at a time start or stop these; the others say whom they wait for."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / f".{name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            progress(f"{name.replace('_', ' ', 1)}: another noetl starts or stops it, waiting (pid {file.read().strip() or '?'})")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
