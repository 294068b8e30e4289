"""Lays out how an execution would be continued: what runs again and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.ops import tables

MOST = 15


def text(planned: Mapping[str, Any]) -> str:
    """Return the plan as a table, the steps that run again first."""
    rows = [{"step": one["step"], "run": one["run"], "what": one["what"], "items": _items(one)} for one in planned["again"]]
    kept = [{"step": one["step"], "run": one["run"], "what": "kept", "items": one["items"]} for one in planned["kept"]]
    lines = [f"continues {planned['continues']} with version {planned['version']} of {planned['path']}"]
    lines.append(tables.table([*rows, *kept[-MOST:]], ("step", "run", "what", "items")))
    if len(kept) > MOST:
        lines.append(f"… and {len(kept) - MOST} earlier runs that are kept: --json")
    if any(one.get("items_done") and one["what"].startswith("entered") for one in planned["again"]):
        lines.append("a loop is run as a whole: --failed-items keeps those of its items that are done")
    lines.append("then what follows from these")
    return "\n".join(lines)


def _items(one: Mapping[str, Any]) -> str | None:
    return None if one.get("items") is None else f"{one['items_done']} of {one['items']} done"
