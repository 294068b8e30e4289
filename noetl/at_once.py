"""Writes that leave at once: whoever waits at the other end need not wait for the rest of the event loop's turn."""

from __future__ import annotations

import asyncio


def at_once(transport: asyncio.Transport) -> None:
    """Have what is written go to the kernel there and then. By default uvloop keeps it until the turn of its loop is over.

    With no room in its buffer it writes what it is given first, and keeps only what the kernel does not take; `pause_writing` follows then.
    """
    transport.set_write_buffer_limits(0)
