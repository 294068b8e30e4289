"""Ctrl-C, for whoever has something to put in order before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def heard_once(title: str) -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C; a further one only says that what was started is being stopped. For the main thread.

    An event loop in it is not left in the midst of anything: its tasks are cancelled, and KeyboardInterrupt follows once they ended.
    """

    def again(_number: int, _frame: FrameType | None) -> None:
        # Not by sys.stderr, in the midst of a write to which it may have come.
        with contextlib.suppress(OSError):
            os.write(2, f"{title}: what was started is being stopped\n".encode())

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, again)
        again(number, frame)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise KeyboardInterrupt from None
        loop.call_soon_threadsafe(_cancel_all, loop)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
