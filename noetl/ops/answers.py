"""What the verbs answer, as text: built here so that the fast ones need not import Invoke."""

from __future__ import annotations

import json
from dataclasses import dataclass

from noetl.settings import Settings


@dataclass(frozen=True)
class Answer:
    """What a verb prints and exits with."""

    text: str
    exit_code: int = 0


def server_status(settings: Settings, json_: bool = False) -> Answer:
    """Say whether this home's servers run and are ready; exit code 1 where none is."""
    from noetl.ops import listing, tables

    rows = listing.servers(settings)
    code = 0 if rows and all(row["state"] == "running" for row in rows) else 1
    if json_:
        return Answer(as_json({"servers": rows}), code)
    if not rows:
        return Answer("server: stopped\n  start it: noetl server start --init-db", code)
    said = [f"{row['name']}: {row['state']} at {row['url']}, since {tables.local(row['started_at'])}" for row in rows]
    return Answer("\n".join([*said, "", tables.services(rows)]), code)


def worker_list(settings: Settings, json_: bool = False) -> Answer:
    """List the workers that run here and those that the server knows."""
    from noetl.ops import listing, tables

    rows, problem = listing.every_worker(settings)
    note = f"\n{problem}" if problem else ""
    if json_:
        return Answer(as_json({"workers": rows}))
    if not rows:
        return Answer(f"no worker runs{note}\n  start one: noetl worker start")
    return Answer(tables.workers(rows) + note)


def as_json(document: object) -> str:
    """Write a document as the verbs' `--json` does."""
    return json.dumps(document, indent=2, ensure_ascii=False)
