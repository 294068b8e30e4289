"""Deletes old executions, a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from noetl.errors import UsageError
from noetl.ops import moments, tables
from noetl.ops.client import Client

Json = Any


def chosen(older_than: str, status: str, path: str) -> dict[str, Json]:
    """Return which executions are meant, as the server is asked for them."""
    if not older_than:
        raise UsageError("how old is not given", "noetl execution prune --older-than 30d --dry-run")
    return {"before": moments.iso(older_than, time.time(), "--older-than"), "status": status.upper() or None, "path": path or None}


def plan(client: Client, which: Mapping[str, Json]) -> dict[str, Json]:
    """Ask how many there are."""
    found: dict[str, Json] = client.post("/api/executions/prune", {**which, "dry_run": True})
    return found


def text(planned: Mapping[str, Json]) -> str:
    """Return a plan for a person."""
    rows = planned["executions"]
    if not rows:
        return f"no execution that is over ended before {planned['before']}"
    total = sum(row["count"] for row in rows)
    return f"{tables.table(rows, ('status', 'count', 'first', 'last'))}\nwould delete {total:,} executions; nothing was deleted"


def prune(client: Client, which: Mapping[str, Json], batch: int, progress: Callable[[str], None]) -> int:
    """Delete them; return how many there were."""
    if batch < 1:
        raise UsageError(f"--batch {batch} is no number of executions", "--batch 50")
    deleted = 0
    said = time.monotonic()
    while number := int(client.post("/api/executions/prune", {**which, "most": batch})["deleted"]):
        deleted += number
        if time.monotonic() - said > 1:
            said = time.monotonic()
            progress(f"{deleted:,} deleted")
    return deleted
