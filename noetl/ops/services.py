"""Everything of one home together: brought up, taken down, listed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from noetl import home as files
from noetl.errors import Conflict, Unavailable
from noetl.ops import listing as listed
from noetl.ops import nats, postgres, process, server, stack, worker
from noetl.ops.client import Client, connect
from noetl.ops.listing import row
from noetl.ops.process import Progress, Record, quiet
from noetl.settings import Settings

_DATA = ("postgres", "postgres.new", "postgres.password", "postgres.roles", "nats", "nats.conf", "embedded.json")


class Starting:
    """Starts what is missing, remembers what that was, and can undo it: what ran before stays up."""

    def __init__(self, settings: Settings, progress: Progress = quiet) -> None:
        self.new: list[Record] = []
        self._settings = settings
        self._progress = progress

    def up(self, workers: int = 1) -> Record:
        """Start what is missing of postgres, nats, server and workers, and return the server."""
        before = {entry.pid for entry in running(self._settings)}
        try:
            return self._up(workers)
        finally:
            self.new += [entry for entry in running(self._settings) if entry.pid not in before]

    def ensure(self) -> Client:
        """Return a client of a server that has workers; the embedded stack is started where nothing runs."""
        client = connect(self._settings)
        if client.answers("/health") and _has_workers(client, embedded=not self._settings.server_url):
            return client
        if self._settings.server_url:
            client.get("/health")
            self._progress(f"no worker is ready at {client.url}: start one with noetl worker start")
            return client
        self._progress("starting what is missing of the embedded stack")
        return Client(self.up().url or client.url, files.token(self._settings))

    def undo(self) -> None:
        """Stop what was started here and nothing else, the last started first."""
        for entry in reversed(self.new):
            if entry.service == postgres.SERVICE:
                postgres.stop(self._settings.home, force=True, progress=self._progress)
            else:
                process.stop(self._settings.home, entry.service, entry.runs, again="noetl down", force=True, progress=self._progress)
        self.new = []

    def _up(self, workers: int) -> Record:
        runs = server.meant(self._settings)
        settings = replace(self._settings, port=runs.port) if runs is not None and runs.port else self._settings
        started = server.start(settings, init_db=True, progress=self._progress)
        if not started.already:
            self._progress(f"server: ready at {started.record.url} (pid {started.record.pid})")
        here = replace(settings, server_url=started.record.url)
        for one in worker.start(here, count=workers, progress=self._progress):
            if not one.already:
                self._progress(f"{one.record.title}: ready (pid {one.record.pid})")
        return started.record


def running(settings: Settings) -> list[Record]:
    """Return every process of this home, in the order in which they are started."""
    server.find(settings)
    return stack.running(settings.home) + server.running(settings.home) + worker.running(settings.home)


def down(settings: Settings, *, timeout: float = process.STOP_TIMEOUT, force: bool = False, progress: Progress = quiet) -> list[Record]:
    """Stop the workers, then the server, then the embedded services; return those that ran."""
    stopped = worker.stop(settings, every=True, timeout=timeout, force=force, progress=progress)
    stopped += server.stop(settings, timeout=timeout, force=force, progress=progress)
    return stopped + stack.stop_all(settings, timeout=timeout, force=force, progress=progress)


def listing(settings: Settings) -> list[dict[str, Any]]:
    """Return one row for each of postgres, nats, server and every worker: its state, its process, and where it is."""
    found: dict[str, Record] = {entry.service: entry for entry in stack.running(settings.home)}
    database = found.get(postgres.SERVICE)
    rows = [
        _external_postgres(settings) if settings.postgres else row("postgres", database, {"dsn": database and database.url}),
        _external_nats(settings) if settings.nats_url else row("nats", found.get(nats.SERVICE), {}),
    ]
    return rows + (listed.servers(settings) or [row("server", None, {})]) + listed.workers(settings)


def stale(home: Path) -> list[Path]:
    """Return the PID files of this home whose processes are gone, or are strangers."""
    return [path for path in sorted(home.glob("noetl_*.pid")) if not _is_ours(home, path.stem.removeprefix("noetl_"))]


def embedded_data(home: Path) -> list[Path]:
    """Return where the embedded services keep their data, as far as it is there."""
    return [path for path in (home / name for name in _DATA) if path.exists()]


def delete_data(home: Path) -> None:
    """Delete the embedded services' data; they are stopped."""
    with stack.lock(home):
        if up := stack.running(home):
            raise Conflict(f"{up[0].title} still runs: pid {up[0].pid}", "noetl down --force --volumes")
        for path in embedded_data(home):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _has_workers(client: Client, *, embedded: bool) -> bool:
    """Tell whether a worker is ready; a server whose embedded database is down has none, until that is started again."""
    try:
        return any(one.get("status") == "ready" for one in worker.known(client))
    except Unavailable:
        if embedded:
            return False
        raise


def _is_ours(home: Path, service: str) -> bool:
    runs = {postgres.SERVICE: ("postgres",), nats.SERVICE: ("nats-server",)}.get(
        service, server.RUNS if service.partition("_")[0] == "server" else worker.RUNS
    )
    entry = process.read(home, service, runs)
    return entry is not None and process.is_alive(entry)


def _external_postgres(settings: Settings) -> dict[str, Any]:
    there = settings.postgres
    assert there is not None
    dsn = f"postgresql://{there.user}@{there.host}:{there.port}/{there.database}"
    return {"name": "postgres", "state": "external", "pid": None, "port": there.port, "dsn": dsn, "url": dsn}


def _external_nats(settings: Settings) -> dict[str, Any]:
    assert settings.nats_url is not None
    parts = urlsplit(settings.nats_url.reveal())
    port = parts.port or 4222
    return {
        "name": "nats",
        "state": "external",
        "pid": None,
        "port": port,
        "url": f"nats://{parts.hostname}:{port}",
    }
