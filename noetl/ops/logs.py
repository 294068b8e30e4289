"""The log files of this home: their last lines, those since a moment, and the lines to come, through rotation."""

from __future__ import annotations

import calendar
import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from noetl.errors import NotFound
from noetl.rotation import older

# Every service writes the moment of a line near its beginning, in UTC: 2026-01-31 09:00:00, 2026/01/31 09:00:00, "2026-01-31T09:00:00".
_MOMENT = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Place:
    """How far a log was read: which file its older lines were in then, and how many bytes of the log."""

    older: int
    position: int


def find(home: Path, service: str = "") -> list[Path]:
    """Return the log files of this home, or the one of a service (`server`, `postgres`, `nats`, `worker-1`)."""
    found = sorted((home / "logs").glob("*.log"))
    if not service:
        return found
    chosen = [path for path in found if path.stem == service] or [path for path in found if path.stem == f"worker_{service}"]
    if not chosen:
        name = service.removeprefix("worker_")
        raise NotFound(
            f"{name!r} has no log in {home / 'logs'}: it was never started here",
            f"these have one: {', '.join(path.stem.removeprefix('worker_') for path in found)}" if found else "start everything: noetl up",
        )
    return chosen


def last(path: Path, count: int, end: int | None = None) -> list[str]:
    """Return a log's last lines, those before the position `end`; older files are read too where it has fewer."""
    lines = _last(path, count, end)
    number = 1
    while len(lines) < count and older(path, number).exists():
        lines = _last(older(path, number), count - len(lines), None) + lines
        number += 1
    return lines


def since(path: Path, begin: float, end: int | None = None) -> Iterator[str]:
    """Yield a log's lines from a moment on, those before the position `end`; what has no time of its own goes with the line before it."""
    files = [path]
    while (before := older(path, len(files))).exists() and before.stat().st_mtime >= begin:
        files.append(before)
    shown = False
    for file in reversed(files):
        left = end if file == path and end is not None else None
        with file.open("rb") as content:
            for raw in content:
                if left is not None and (left := left - len(raw)) < 0:
                    break
                line = raw.decode(errors="replace").rstrip("\r\n")
                written = _written(line)
                shown = shown if written is None else written >= int(begin)
                if shown:
                    yield line


def places(paths: list[Path]) -> dict[Path, Place]:
    """Return how far these logs are written now."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found[path] = Place(_inode(older(path, 1)), path.stat().st_size)
    return found


def follow(paths: Callable[[], list[Path]], read: Mapping[Path, Place] | None = None, pause: float = 0.2) -> Iterator[tuple[Path, str]]:
    """Return an endless iterator of the lines after these places (by default now), through rotation, and in files that appear later."""
    # The places are those of the call, not of the first line that somebody asks for.
    return (found for found in follow_or_wait(paths, places(paths()) if read is None else read, pause) if found is not None)


def follow_or_wait(paths: Callable[[], list[Path]], read: Mapping[Path, Place], pause: float = 0.2) -> Iterator[tuple[Path, str] | None]:
    """Yield the lines after these places, and None each time that there was nothing for a pause."""
    known = dict(read)
    while True:
        quiet = True
        for path in paths():
            with contextlib.suppress(FileNotFoundError):
                for line in _fresh(path, known, pause):
                    quiet = False
                    yield path, line
        if quiet:
            yield None
            time.sleep(pause)


def _fresh(path: Path, known: dict[Path, Place], pause: float) -> Iterator[str]:
    """Yield a log's lines after its place, and move that on."""
    before = _inode(older(path, 1))
    place = known.get(path, Place(before, 0))
    # A log is copied away before its copy gets its name: with the name new, the log is a new one.
    if before != place.older:
        yield from _rest(older(path, 1), place.position)
        place = Place(before, 0)
    elif path.stat().st_size < place.position:
        # Emptied; its copy has no name yet, unless a person did it, and then there is none.
        time.sleep(pause)
        if _inode(older(path, 1)) != before:
            return
        place = Place(before, 0)
    lines, position = _read_lines(path, place.position)
    known[path] = Place(before, position)
    yield from lines


def _last(path: Path, count: int, end: int | None) -> list[str]:
    if count <= 0:
        return []
    with path.open("rb") as file:
        position = file.seek(0, 2) if end is None else min(end, file.seek(0, 2))
        text = b""
        while position > 0 and text.count(b"\n") <= count:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            text = file.read(step) + text
    return text.decode(errors="replace").splitlines()[-count:]


def _rest(path: Path, position: int) -> Iterator[str]:
    while (found := _read_lines(path, position))[0]:
        lines, position = found
        yield from lines


def _read_lines(path: Path, position: int) -> tuple[list[str], int]:
    with path.open("rb") as file:
        file.seek(position)
        content = file.read(1024 * 1024)
    end = content.rfind(b"\n") + 1
    return content[:end].decode(errors="replace").splitlines(), position + end


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _written(line: str) -> float | None:
    found = _MOMENT.search(line[:60])
    return calendar.timegm(tuple(int(one) for one in found.groups())) if found else None
