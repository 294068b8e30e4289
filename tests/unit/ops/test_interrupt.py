"""Ctrl-C is heard once: what puts things in order is not disturbed by another one."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import time

import pytest

from noetl.ops.interrupt import heard_once


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_in_plain_code(capfd: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), heard_once("it"):
        try:
            interrupt()
            time.sleep(10)
        finally:
            interrupt()
            done.append("in order")
    assert done == ["in order"]
    assert capfd.readouterr().err == "it: what was started is being stopped\n" * 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class _Interrupted(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, text: object) -> int:
        interrupt()
        return len(memoryview(text))  # type: ignore[arg-type]


def test_in_the_midst_of_a_line_that_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(_Interrupted()), write_through=True))

    async def work() -> None:
        sys.stderr.write("a line\n")
        sys.stderr.flush()
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt), heard_once("it"):
        asyncio.run(work())


def test_where_nobody_reads_what_is_printed() -> None:
    """As with `2>&1 | head`: what was started is stopped all the same."""
    kept, (reads, writes) = os.dup(2), os.pipe()
    os.close(reads)
    os.dup2(writes, 2)
    try:
        with pytest.raises(KeyboardInterrupt), heard_once("it"):
            interrupt()
            time.sleep(10)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writes)


def test_in_an_event_loop() -> None:
    done: list[str] = []

    async def beside() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            done.append("beside")

    async def work() -> None:
        task = asyncio.create_task(beside())
        try:
            await asyncio.sleep(0)
            interrupt()
            await asyncio.sleep(60)
        finally:
            interrupt()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(time.sleep, 0.01)
            done.append("in order")

    with pytest.raises(KeyboardInterrupt), heard_once("it"):
        asyncio.run(work())
    assert done == ["beside", "in order"]


def test_nothing_changes_without_it() -> None:
    with heard_once("it"):
        assert asyncio.run(asyncio.sleep(0, "done")) == "done"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
