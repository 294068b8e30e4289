"""How long a process has to put down what was sent ahead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noetl.worker import connection, frames
from noetl.worker.connection import Child


class Transport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0


async def test_each_drop_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that put the first down at once is not killed for the second by what was left of the first one's time."""
    monkeypatch.setattr(connection, "_DROP_WITHIN", 2.0)
    nothing: Any = None
    killed, rested, transport = [], [], Transport()
    child = Child(1, nothing, killed.append, nothing, 1024)
    given: Any = transport
    child.connection_made(given)
    child.drop(rested.append)
    child.data_received(frames.frame(frames.DROPPED, b""))
    assert rested == [child]
    await asyncio.sleep(1.6)
    child.drop(rested.append)
    await asyncio.sleep(0.8)
    assert killed == []
    for _ in range(600):
        if killed:
            break
        await asyncio.sleep(0.05)
    assert (killed, child.usable, rested) == ([child], False, [child])
    assert transport.written == [frames.frame(frames.DROP, b"")] * 2
