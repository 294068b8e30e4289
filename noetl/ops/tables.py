"""Text for people: tables, durations, sizes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Lay rows out under the columns' names, each column as wide as its widest value."""
    lines = [[column.upper().replace("_", " ") for column in columns]]
    lines += [["-" if row.get(column) is None else str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def services(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out what `ps` shows."""
    shown = [
        {
            **row,
            "service": row["name"],
            "uptime": None if row.get("uptime") is None else duration(row["uptime"]),
            "memory": None if row.get("memory") is None else size(row["memory"]),
            "url": row.get("url") or row.get("dsn"),
        }
        for row in rows
    ]
    return table(shown, ("service", "state", "pid", "uptime", "port", "url", "version", "memory", "log"))


def duration(seconds: float) -> str:
    """Write seconds as people say them: 0.42 s, 3 min 05 s, 2 h 10 min, 4 d 3 h."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Write bytes in units of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def since(moment: float) -> str:
    """Write a moment as its local time and how long ago it was."""
    local = datetime.fromtimestamp(moment).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S} ({duration(max(0.0, time.time() - moment))} ago)"
