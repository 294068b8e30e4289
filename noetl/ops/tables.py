"""Text for people: tables, durations, sizes."""

from __future__ import annotations

import json
import os
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


def result(value: object) -> str:
    """Lay out an execution's result: what is plain as a line each, lists of mappings as tables; anything else as JSON."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or not value:
        return json.dumps(value, indent=2, ensure_ascii=False)
    lists = {name: rows for name, rows in value.items() if _is_rows(rows)}
    plain = {str(name).replace("_", " "): _shown(found) for name, found in value.items() if name not in lists}
    width = max(map(len, plain), default=0)
    parts = ["\n".join(f"{name.ljust(width)}  {text}" for name, text in plain.items())] if plain else []
    for name, rows in lists.items():
        parts.append(f"{name.replace('_', ' ')}:\n{_figures(rows)}")
    return "\n\n".join(parts)


def services(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out what `ps` and `server.status` show."""
    columns = ("service", "state", "pid", "uptime", "port", "version", "memory", "running", "log")
    return _with_logs([{**_short(row), "service": row["name"]} for row in rows], columns, ("log",))


def workers(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out what `worker.list` shows."""
    columns = ("name", "status", "pool", "host", "pid", "uptime", "slots", "running", "version", "memory", "log")
    return _with_logs([_short(row) for row in rows], columns, ("log", "memory", "uptime", "version", "slots", "host"))


def fitting(rows: Sequence[Mapping[str, object]], columns: Sequence[str], droppable: Sequence[str], width: int) -> list[str]:
    """Return the columns without those that make the table wider than `width`, dropped in the order given."""
    chosen = list(columns)
    for name in droppable:
        if max(map(len, table(rows, chosen).splitlines())) <= width:
            break
        chosen.remove(name)
    return chosen


def screen() -> int:
    """Return how many columns the terminal has; 80 where there is none."""
    if (told := os.environ.get("COLUMNS", "")).isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


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


def brief(seconds: float) -> str:
    """Write seconds in few letters: 42s, 3m05s, 2h10m, 4d03h."""
    whole = int(seconds)
    for unit, part, length, of in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= length:
            return f"{whole // length}{unit}{whole % length // of:02d}{part}"
    return f"{whole}s"


def since(moment: float) -> str:
    """Write a moment as its local time and how long ago it was."""
    return f"{local(moment)} ({duration(max(0.0, time.time() - moment))} ago)"


def local(moment: float) -> str:
    """Write a moment as its local time."""
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    uptime, memory = row.get("uptime"), row.get("memory")
    return {
        **row,
        "uptime": None if uptime is None else brief(uptime),
        "memory": None if memory is None else size(memory).replace(" ", "").removesuffix("iB"),
    }


def _with_logs(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], droppable: Sequence[str]) -> str:
    chosen = fitting(rows, columns, droppable, screen())
    shown = table(rows, chosen)
    logs = [] if "log" in chosen else [str(row["log"]) for row in rows if str(row.get("log")).startswith("/")]
    return "\n".join([shown, *(["", "logs:", *(f"  {one}" for one in logs)] if logs else [])])


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _figures(rows: Sequence[Mapping[str, object]]) -> str:
    """Lay rows out with their numbers at the right edge of their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    widths = {column: max(len(column), *(len(_shown(row.get(column))) for row in rows)) for column in columns}
    aligned = [
        {name: _shown(found).rjust(widths[name]) if isinstance(found, int | float) else _shown(found) for name, found in row.items()}
        for row in rows
    ]
    return table(aligned, columns)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | bool) else str(value)
