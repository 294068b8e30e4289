"""Who descends from a process, and how none of them outlives it (Linux; elsewhere as far as the system lets us)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def adopt_orphans() -> bool:
    """Become the new parent of every descendant whose own parent dies; False where the system cannot do that."""
    return _libc is not None and _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with(parent: int) -> None:
    """Ask for SIGKILL at the death of the parent; end at once if it is already gone."""
    if _libc is not None:
        _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def children(pid: int) -> list[int]:
    """Return the process's direct children, zombies included."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        if Path("/proc/self/task").exists() and not Path(f"/proc/{pid}").exists():
            return []
        return _children_by_psutil(pid)
    return found


def descendants(pid: int) -> list[int]:
    """Return everything below a process, parents before children."""
    found = children(pid)
    for child in found:
        found.extend(children(child))
    return found


def kill(pid: int) -> None:
    """Send SIGKILL; a process that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a child of ours, its process group and all that descends from it."""
    below = descendants(pid)
    kill(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for process in below:
        kill(process)


def _children_by_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
