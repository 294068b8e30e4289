"""What runs here as rows: each process with its state, what it takes, and where it is. Light, for verbs that have to be quick."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from noetl.errors import NoetlError
from noetl.ops import process, server, worker
from noetl.ops.client import connect
from noetl.ops.process import Record
from noetl.settings import Settings


def row(name: str, entry: Record | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a service by its process; `extra` adds to it, its `ready` decides whether what runs is called running."""
    more = {key: value for key, value in extra.items() if key != "ready"}
    if entry is None:
        nothing = dict.fromkeys(("pid", "port", "url", "version", "log", "started_at", "uptime", "memory", "running"))
        return {"name": name, "state": "stopped", **nothing, **more}
    taken = process.usage(entry)
    return {
        "name": name,
        "state": "suspended" if process.is_suspended(entry) else "running" if extra.get("ready", True) else "not ready",
        "pid": entry.pid,
        "port": entry.port,
        "url": entry.url,
        "version": entry.version,
        "log": entry.log,
        "started_at": entry.started_at,
        "uptime": round(taken.uptime, 1) if taken else None,
        "memory": taken.memory if taken else None,
        "running": None,
        **more,
    }


def servers(settings: Settings) -> list[dict[str, Any]]:
    """Return a row for each server of this home."""
    server.find(settings)
    return [row(entry.service, entry, {"ready": server.is_ready(entry, settings)}) for entry in server.running(settings.home)]


def workers(settings: Settings) -> list[dict[str, Any]]:
    """Return a row for each worker of this home, with what the server knows of it."""
    entries = worker.running(settings.home)
    heard: dict[object, Mapping[str, Any]] = {}
    if entries:
        # A list of what runs is wanted most of all while the server cannot answer.
        with contextlib.suppress(NoetlError):
            heard = {one.get("pid"): one for one in worker.known(connect(settings, timeout=2)) if worker.is_here(one)}
    return [{**_worker(entry, heard.get(entry.pid, {})), "name": f"worker {worker.name_of(entry)}"} for entry in entries]


def every_worker(settings: Settings) -> tuple[list[dict[str, Any]], str]:
    """Return the workers of this home and those elsewhere that the server knows, and why the latter are missing if they are."""
    rows: dict[object, dict[str, Any]] = {
        entry.pid: {**_worker(entry, {}), "name": worker.name_of(entry), "status": "running"} for entry in worker.running(settings.home)
    }
    try:
        for one in worker.known(connect(settings, timeout=5)):
            here = worker.is_here(one) and one.get("pid") in rows
            if one.get("status") != "gone" or here:
                key = one["pid"] if here else one["worker_id"]
                rows[key] = rows.get(key, {}) | one
    except NoetlError as error:
        return list(rows.values()), f"{error.message}: only the workers of this machine are listed"
    return list(rows.values()), ""


def _worker(entry: Record, said: Mapping[str, Any]) -> dict[str, Any]:
    extra = {key: said.get(key) for key in ("pool", "slots", "running")}
    return row(entry.service, entry, {**extra, "ready": said.get("status") == "ready"})
