"""What processes cost: CPU seconds and memory, of whole trees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil


def seconds(roots: Iterable[psutil.Process]) -> float:
    """Return the user and system seconds of processes and everything below them, those that ended included."""
    total = 0.0
    for process in _trees(roots):
        with contextlib.suppress(psutil.NoSuchProcess):
            taken = process.cpu_times()
            total += taken.user + taken.system + taken.children_user + taken.children_system
    return total


def memory(roots: Iterable[psutil.Process]) -> int:
    """Return the resident bytes of processes, without what is below them."""
    return sum(process.memory_info().rss for process in roots)


def _trees(roots: Iterable[psutil.Process]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {root, *root.children(recursive=True)}
    return found
