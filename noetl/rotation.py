"""Log files that do not grow for ever: a full one is copied away and emptied, under the feet of whoever writes to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from pathlib import Path

EVERY = 2.0


def older(log: Path, number: int) -> Path:
    """Return where a log's older lines are: 1 has the latest of them."""
    return log.with_name(f"{log.name}.{number}")


def rotate(log: Path, size: int, count: int) -> bool:
    """Empty a log of `size` bytes or more; its lines go to LOG.1, those of before one number up, as far as `count`.

    Its writers go on as if nothing had been: their files have to be open for appending.
    """
    if log.stat().st_size < size:
        return False
    fresh = log.with_name(f".{log.name}.{os.getpid()}")
    try:
        with log.open("r+b") as full, fresh.open("wb") as copy:
            os.fchmod(copy.fileno(), os.fstat(full.fileno()).st_mode & 0o777)
            shutil.copyfileobj(full, copy, 1024 * 1024)
            # What was written meanwhile is copied too; between the last read and this, a line can be lost.
            full.truncate(0)
        for number in range(count - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                older(log, number).replace(older(log, number + 1))
        fresh.replace(older(log, 1))
    finally:
        fresh.unlink(missing_ok=True)
    return True


def rotate_all(folder: Path, size: int, count: int) -> None:
    """Rotate every log of a folder that is full, unless somebody else does so right now."""
    with contextlib.suppress(OSError), (folder / ".rotation.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for log in folder.glob("*.log"):
            with contextlib.suppress(OSError):
                rotate(log, size, count)


def keep_rotated(folder: Path, size: int, count: int) -> None:
    """Look after a folder's logs for as long as this process lives."""

    def look() -> None:
        while True:
            time.sleep(EVERY)
            rotate_all(folder, size, count)

    threading.Thread(target=look, daemon=True, name="log rotation").start()
