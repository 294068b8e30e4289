"""What the verbs answer, as text: built here so that the fast ones need not import Invoke."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from noetl.errors import NoetlError
from noetl.settings import Settings


@dataclass(frozen=True)
class Answer:
    """What a verb prints and exits with."""

    text: str
    exit_code: int = 0


def server_status(settings: Settings, json_: bool = False) -> Answer:
    """Say whether this home's servers run and are ready; exit code 1 where none is."""
    from noetl.ops import server, tables

    server.find(settings)
    rows = [
        {"name": entry.service, "pid": entry.pid, "port": entry.port, "url": entry.url, "version": entry.version, "log": entry.log}
        | {"state": "running" if server.is_ready(entry, settings) else "not ready", "started_at": entry.started_at}
        for entry in server.running(settings.home)
    ]
    code = 0 if rows and all(row["state"] == "running" for row in rows) else 1
    if json_:
        return Answer(as_json({"servers": rows}), code)
    if not rows:
        return Answer("server: stopped\n  start it: noetl server start --init-db", code)
    said = [
        f"{row['name']}: {row['state']}, pid {row['pid']}, {row['url']}, since {tables.since(_number(row['started_at']))}" for row in rows
    ]
    return Answer("\n".join(said), code)


def worker_list(settings: Settings, json_: bool = False) -> Answer:
    """List the workers that run here and those that the server knows."""
    from noetl.ops import tables, worker
    from noetl.ops.client import connect

    rows: dict[object, dict[str, Any]] = {}
    for entry in worker.running(settings.home):
        rows[entry.pid] = {"name": worker.name_of(entry), "status": "running", "pid": entry.pid, "version": entry.version, "log": entry.log}
    note = ""
    try:
        for one in worker.known(connect(settings, timeout=5)):
            here = worker.is_here(one) and one.get("pid") in rows
            if one.get("status") != "gone" or here:
                key = one["pid"] if here else one["worker_id"]
                rows[key] = rows.get(key, {}) | one
    except NoetlError as error:
        note = f"\n{error.message}: only the workers of this machine are listed"
    if json_:
        return Answer(as_json({"workers": list(rows.values())}))
    if not rows:
        return Answer(f"no worker runs{note}\n  start one: noetl worker start")
    return Answer(tables.table(list(rows.values()), ("name", "status", "pool", "host", "pid", "slots", "running", "version", "log")) + note)


def as_json(document: object) -> str:
    """Write a document as the verbs' `--json` does."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
