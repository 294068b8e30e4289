"""Everything of one home together: brought up, taken down, listed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from noetl import home as files
from noetl.errors import NoetlError, Unavailable
from noetl.ops import postgres, process, server, stack, worker
from noetl.ops.client import Client, connect
from noetl.ops.process import Progress, Record, quiet
from noetl.settings import Settings


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
        started = server.start(self._settings, init_db=True, progress=self._progress)
        if not started.already:
            self._progress(f"server: ready at {started.record.url} (pid {started.record.pid})")
        here = replace(self._settings, server_url=started.record.url)
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
    stopped = worker.stop(settings.home, every=True, timeout=timeout, force=force, progress=progress)
    stopped += server.stop(settings, timeout=timeout, force=force, progress=progress)
    return stopped + stack.stop_all(settings, timeout=timeout, force=force, progress=progress)


def listing(settings: Settings) -> list[dict[str, Any]]:
    """Return one row for each of postgres, nats, server and every worker: its state, its process, and where it is."""
    found: dict[str, Record] = {entry.service: entry for entry in stack.running(settings.home)}
    rows = [
        _external_postgres(settings) if settings.postgres else _row("postgres", found.get("postgres"), {"port": None, "dsn": None}),
        _external_nats(settings) if settings.nats_url else _row("nats", found.get("nats"), {"port": None, "url": None}),
    ]
    server.find(settings)
    servers = server.running(settings.home)
    rows += [_row(entry.service, entry, {"ready": server.is_ready(entry, settings)}) for entry in servers] or [
        _row("server", None, {"port": None})
    ]
    return rows + _workers(settings)


def _has_workers(client: Client, *, embedded: bool) -> bool:
    """Tell whether a worker is ready; a server whose embedded database is down has none, until that is started again."""
    try:
        return any(one.get("status") == "ready" for one in worker.known(client))
    except Unavailable:
        if embedded:
            return False
        raise


def _workers(settings: Settings) -> list[dict[str, Any]]:
    entries = worker.running(settings.home)
    heard: dict[object, Mapping[str, Any]] = {}
    if entries:
        client = connect(settings, timeout=2)
        # A list of what runs is wanted most of all while the server cannot answer.
        with contextlib.suppress(NoetlError):
            heard = {one.get("pid"): one for one in worker.known(client) if worker.is_here(one)}
    rows = []
    for entry in entries:
        said = heard.get(entry.pid, {})
        extra = {
            "ready": said.get("status") == "ready",
            "pool": said.get("pool"),
            "slots": said.get("slots"),
            "running": said.get("running"),
        }
        rows.append({**_row(entry.service, entry, extra), "name": f"worker {worker.name_of(entry)}"})
    return rows


def _row(name: str, entry: Record | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    if entry is None:
        return {"name": name, "state": "stopped", "pid": None, "url": None, "version": None, "log": None, **extra}
    taken = process.usage(entry)
    ready = extra.get("ready", True)
    address = {"dsn": entry.url} if name == postgres.SERVICE else {"url": entry.url}
    return {
        "name": name,
        "state": "running" if ready else "not ready",
        "pid": entry.pid,
        "port": entry.port,
        **address,
        "version": entry.version,
        "log": entry.log,
        "uptime": round(taken.uptime, 1) if taken else None,
        "memory": taken.memory if taken else None,
        **{key: value for key, value in extra.items() if key not in ("ready", "port", "dsn", "url")},
    }


def _external_postgres(settings: Settings) -> dict[str, Any]:
    there = settings.postgres
    assert there is not None
    dsn = f"postgresql://{there.user}@{there.host}:{there.port}/{there.database}"
    return {"name": "postgres", "state": "external", "pid": None, "port": there.port, "dsn": dsn, "version": None, "log": None}


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
        "version": None,
        "log": None,
    }
