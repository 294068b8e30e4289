"""A live view of an execution: a tree of its steps where the output is a terminal, a line for each change where it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from noetl.ops import tables
from noetl.ops.follow import TERMINAL, Snapshot

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("●", "cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("■", "yellow"),
    "skipped": ("↷", "dim"),
}
_STATUS = {"COMPLETED": "bold green", "FAILED": "bold red", "CANCELLED": "bold yellow"}


def show(snapshots: Iterator[Snapshot], output: IO[str], *, colour: bool = True) -> Snapshot:
    """Show an execution until it ends and return its last snapshot."""
    return _tree_view(snapshots, output, colour) if output.isatty() else _line_view(snapshots, output)


def lines(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in lines what changed between two of the server's documents."""
    known = {_key(step): step for step in before.get("steps") or []}
    names = _names(now.get("steps") or [])
    said = []
    for step in now.get("steps") or []:
        old = known.get(_key(step), {})
        if step["state"] == old.get("state") and _tenth(step) == _tenth(old) and step.get("attempts") == old.get("attempts"):
            continue
        said.append("  ".join([f"{_MARKS[step['state']][0]} {names[_key(step)]}", step["state"], *_facts(step)]))
    return said


def tree(snapshot: Snapshot, now: float) -> Tree:
    """Draw the execution as a tree of its steps."""
    from rich.text import Text
    from rich.tree import Tree

    document = snapshot.document
    title = Text.assemble((str(document.get("path", "")), "bold"), f"  {document.get('execution_id', '')}  ")
    title.append(snapshot.status, _STATUS.get(snapshot.status, "bold cyan"))
    title.append(f"  {tables.duration(_elapsed(document, now))}", "dim")
    if snapshot.silent:
        title.append(f"  the server does not answer ({snapshot.silent:.0f} s), trying again", "yellow")
    drawn = Tree(title, guide_style="dim")
    names = _names(snapshot.steps)
    width = max(map(len, names.values()), default=0)
    for step in snapshot.steps:
        branch = drawn.add(_step_line(step, names[_key(step)].ljust(width), now))
        if step.get("error"):
            branch.add(Text(error_text(step["error"]), "red"))
            if step["error"].get("hint"):
                branch.add(Text(step["error"]["hint"], "yellow"))
    return drawn


def error_text(error: object) -> str:
    """Return an error's message, whatever form it has."""
    if isinstance(error, Mapping):
        kind, message = error.get("type"), error.get("message")
        if not message:
            return str(dict(error))
        return str(message) if not kind or str(message).startswith(f"{kind}: ") else f"{kind}: {message}"
    return str(error)


def told(error: object) -> str:
    """Return an error for a terminal: its step and message, below them what to do."""
    step, hint = (error.get("step"), error.get("hint")) if isinstance(error, Mapping) else (None, None)
    text = f"step {step}: {error_text(error)}" if step else error_text(error)
    return "\n  ".join([text, *str(hint or "").splitlines()])


def _line_view(snapshots: Iterator[Snapshot], output: IO[str]) -> Snapshot:
    last = Snapshot({})
    silent = False
    for snapshot in snapshots:
        if snapshot.silent and not silent:
            output.write("the server does not answer, trying again\n")
        elif silent and not snapshot.silent:
            output.write("the server answers again\n")
        silent = bool(snapshot.silent)
        for line in lines(last.document, snapshot.document):
            output.write(f"{line}\n")
        output.flush()
        last = snapshot
    output.write(f"{last.document.get('path', '')}  {last.status}  {tables.duration(_elapsed(last.document, time.time()))}\n")
    output.flush()
    return last


def _tree_view(snapshots: Iterator[Snapshot], output: IO[str], colour: bool) -> Snapshot:
    from rich.console import Console
    from rich.live import Live

    last = Snapshot({})
    console = Console(file=output, no_color=not colour, highlight=False)
    with Live(console=console, get_renderable=lambda: tree(last, time.time()), refresh_per_second=8, vertical_overflow="crop") as screen:
        for snapshot in snapshots:
            last = snapshot
        screen.vertical_overflow = "visible"
        screen.refresh()
    return last


def _step_line(step: Mapping[str, Any], name: str, now: float) -> Text:
    from rich.text import Text

    mark, style = _MARKS[step["state"]]
    line = Text.assemble((f"{mark} ", style), name)
    facts = _facts(step)
    if step["state"] == "running" and step.get("started_at"):
        facts = [tables.duration(max(0.0, now - _moment(step["started_at"]))), *facts]
    loop = step.get("loop")
    if loop and loop.get("total"):
        filled = round(20 * (loop["total"] - loop["waiting"] - loop["running"]) / loop["total"])
        line.append("  ").append("━" * filled, style).append("━" * (20 - filled), "dim")
    return line.append("  " + "  ".join(facts), "dim") if facts else line


def _facts(step: Mapping[str, Any]) -> list[str]:
    facts = []
    if step.get("duration") is not None and step["state"] != "running":
        facts.append(tables.duration(step["duration"]))
    loop = step.get("loop")
    if loop:
        facts.append(f"{loop['done']}/{loop['total']} items")
        facts += [f"{loop[name]} {name}" for name in ("failed", "running", "cancelled") if loop.get(name)]
    if (step.get("attempts") or 0) > 1:
        facts.append(f"attempt {step['attempts']}")
    return facts


def _tenth(step: Mapping[str, Any]) -> int:
    """Return a loop's progress in tenths: a line for each item would be a flood."""
    loop = step.get("loop")
    if not loop or not loop.get("total"):
        return -1
    return int(10 * (loop["done"] + loop["failed"]) / loop["total"])


def _names(steps: list[dict[str, Any]]) -> dict[tuple[str, int], str]:
    """Name each run of a step; from its second run on with the number of the run."""
    names: dict[tuple[str, int], str] = {}
    seen: dict[str, int] = {}
    for step in steps:
        count = seen[step["step"]] = seen.get(step["step"], 0) + 1
        names[_key(step)] = step["step"] if count == 1 else f"{step['step']} (run {count})"
    return names


def _key(step: Mapping[str, Any]) -> tuple[str, int]:
    return str(step["step"]), int(step.get("run") or 1)


def _elapsed(document: Mapping[str, Any], now: float) -> float:
    if not document.get("start_time"):
        return 0.0
    ended = document.get("end_time")
    terminal = document.get("status") in TERMINAL and ended
    return max(0.0, (_moment(ended) if terminal else now) - _moment(document["start_time"]))


def _moment(text: Any) -> float:
    return datetime.fromisoformat(str(text)).timestamp()
