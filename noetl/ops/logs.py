"""The log files of this home: their last lines, and the lines to come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from noetl.errors import NotFound


def find(home: Path, service: str = "") -> list[Path]:
    """Return the log files of this home, or the one of a service (`server`, `postgres`, `nats`, `worker-1`)."""
    found = sorted((home / "logs").glob("*.log"))
    if not service:
        return found
    chosen = [path for path in found if path.stem in (service, f"worker_{service}")]
    if not chosen:
        raise NotFound(f"{service!r} has no log in {home / 'logs'}", f"these have one: {', '.join(path.stem for path in found) or 'none'}")
    return chosen


def last(path: Path, count: int) -> list[str]:
    """Return a log's last lines."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 400 * max(count, 1)))
        return file.read().decode(errors="replace").splitlines()[-count:] if count > 0 else []


def follow(paths: Callable[[], list[Path]], pause: float = 0.2) -> Iterator[tuple[Path, str]]:
    """Return an endless iterator of the lines written from now on, through rotation, and in files that appear later."""
    return _follow(paths, pause, {path: (path.stat().st_ino, path.stat().st_size) for path in paths()})


def _follow(paths: Callable[[], list[Path]], pause: float, places: dict[Path, tuple[int, int]]) -> Iterator[tuple[Path, str]]:
    while True:
        for path in paths():
            with contextlib.suppress(FileNotFoundError):
                inode, position = places.get(path, (0, 0))
                found = path.stat()
                position = position if found.st_ino == inode and found.st_size >= position else 0
                fresh, position = _read_lines(path, position)
                places[path] = (found.st_ino, position)
                yield from ((path, line) for line in fresh)
        time.sleep(pause)


def _read_lines(path: Path, position: int) -> tuple[list[str], int]:
    with path.open("rb") as file:
        file.seek(position)
        content = file.read(1024 * 1024)
    end = content.rfind(b"\n") + 1
    return content[:end].decode(errors="replace").splitlines(), position + end
