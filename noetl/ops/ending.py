"""Signals that end what is under way, with everything put back."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 20.0
"""Seconds in which further signals do not disturb what the first one set going; after that they do, as what is awaited may be gone."""


@contextlib.contextmanager
def as_interrupts() -> Iterator[None]:
    """Let the first of SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt meanwhile; only a process's first thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: float | None = None

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        if first is None or time.monotonic() - first > _PATIENCE:
            first = time.monotonic()
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
