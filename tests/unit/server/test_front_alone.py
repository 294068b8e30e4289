"""What a real server cannot be made to show: long waits, and mistakes of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from noetl.server.front import Front
from noetl.server.gate import Asked, Direct, Gate, Scope
from noetl.server.leaving import Leaving
from noetl.settings import Secret

HEAD = b"POST /api/execute HTTP/1.1\r\nAuthorization: Bearer t\r\nContent-Length: %d\r\n\r\n"
WHOLE = HEAD % 2 + b"{}"


class Ahead(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward."""

    seconds = 0.0

    def time(self) -> float:
        """Return the time that it believes in."""
        return super().time() + self.seconds


class Bench:
    """A Front behind a real socket."""

    def __init__(self, loop: Ahead, leaving: Leaving, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = loop
        self.leaving, self.reader, self.writer = leaving, reader, writer

    async def later(self, seconds: float) -> None:
        """Let so many seconds pass, after what was sent has arrived."""
        await asyncio.sleep(0.05)
        self._loop.seconds += seconds
        await asyncio.sleep(0.05)

    async def head(self) -> bytes:
        """Read an answer's head."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)


async def nothing(scope: Scope, receive: Any, send: Any) -> None:
    """Be the app that is never asked."""
    raise AssertionError(scope)


async def fine(_asked: Asked) -> bytes:
    return b"{}"


def run(handle: Direct, work: Callable[[Bench], Awaitable[None]], app: Any = nothing) -> None:
    """Connect to a Front whose requests are answered by `handle`, the others by `app`."""
    loop = Ahead()

    async def whole() -> None:
        leaving = Leaving(1, 1)
        gate = Gate(app, {"/api/execute": handle}, Secret("t"), 1000, 1000, leaving)
        config = uvicorn.Config(gate, log_config=None, lifespan="off", timeout_keep_alive=75)
        config.load()
        state = ServerState()
        server = await loop.create_server(lambda: Front(config, state, {}, loop), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await work(Bench(loop, leaving, reader, writer))
        writer.close()
        await writer.wait_closed()
        server.close()
        while state.connections or state.tasks:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)

    try:
        loop.run_until_complete(whole())
    finally:
        loop.close()


def test_a_connection_that_nobody_uses_is_closed_after_its_time() -> None:
    async def work(bench: Bench) -> None:
        await bench.later(70)
        bench.writer.write(WHOLE)
        assert b" 200 " in await bench.head()
        assert await bench.reader.readexactly(2) == b"{}"
        await bench.later(70)
        assert not bench.reader.at_eof()
        await bench.later(10)
        assert await bench.reader.read() == b""

    run(fine, work)


def test_a_head_is_read_once_whichever_connection_it_comes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(bench: Bench) -> None:
        bench.writer.write(WHOLE)
        assert await bench.head() + await bench.reader.readexactly(2)
        asked: list[bytes] = []
        monkeypatch.setattr(Gate, "allows", lambda _gate, authorization: bool(asked.append(authorization)))
        reader, writer = await asyncio.open_connection(*bench.writer.get_extra_info("peername"))
        writer.write(WHOLE)
        assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert await reader.readexactly(2) == b"{}"
        assert asked == []
        writer.write(WHOLE.replace(b"Bearer t", b"Bearer T"))
        assert b" 401 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.close()
        await writer.wait_closed()

    run(fine, work)


def test_a_head_that_does_not_end_has_no_more_time_than_none() -> None:
    async def work(bench: Bench) -> None:
        await bench.later(70)
        bench.writer.write(WHOLE[:30])
        await bench.later(10)
        assert await bench.reader.read() == b""

    run(fine, work)


@pytest.mark.parametrize("begun", [b"G", b"GET /health HTTP/1.1\r\nHost: x\r\n", b"\r\n", b"POST /api/execute HTTP/1.1\r\nExpect: x\r\n"])
def test_a_head_that_uvicorn_reads_has_no_more_time_either(begun: bytes) -> None:
    async def work(bench: Bench) -> None:
        bench.writer.write(begun)
        await bench.later(70)
        assert not bench.reader.at_eof()
        await bench.later(10)
        assert await asyncio.wait_for(bench.reader.read(), 30) == b""

    run(fine, work)


@pytest.mark.parametrize("more", [b"", b"GET /he"])
def test_the_answer_of_another_request_may_take_its_time_and_the_next_head_has_no_more_of_it(more: bytes) -> None:
    go = asyncio.Event()

    async def slow(scope: Scope, receive: Any, send: Any) -> None:
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def work(bench: Bench) -> None:
        bench.writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + more)
        for _ in range(3):
            await bench.later(80)
        go.set()
        assert b" 200 " in await bench.head()
        assert not bench.reader.at_eof()
        await bench.later(80)
        assert await asyncio.wait_for(bench.reader.read(), 30) == b""

    run(fine, work, slow)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r"])
def test_a_head_whose_lines_end_otherwise_is_refused_at_once(end: bytes) -> None:
    async def work(bench: Bench) -> None:
        bench.writer.write(WHOLE.replace(b"\r\n", end))
        assert b" 400 " in await bench.head()
        assert b"Invalid" in await bench.reader.read()

    run(fine, work)


def test_a_body_has_its_time_from_its_head_on() -> None:
    async def work(bench: Bench) -> None:
        await bench.later(70)
        bench.writer.write(WHOLE[:-1])
        await bench.later(70)
        bench.writer.write(WHOLE[-1:])
        assert b" 200 " in await bench.head()

    run(fine, work)


def test_a_mistake_after_what_was_told_ahead_ends_the_connection_without_an_answer() -> None:
    async def fails(asked: Asked) -> bytes:
        assert asked.early(b"[1]")
        raise RuntimeError

    async def work(bench: Bench) -> None:
        bench.writer.write(WHOLE + WHOLE)
        assert b"\r\nnoetl-foretold: [1]\r\n" in await bench.head()
        assert await bench.reader.read() == b""

    run(fails, work)


@pytest.mark.parametrize("more", [b"", b"TE: trailers\r\n"])
def test_a_mistake_is_logged_with_the_path_it_was_asked_by(more: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """On both ways, as that of any other route is."""

    async def fails(_asked: Asked) -> bytes:
        raise RuntimeError("not so")

    async def work(bench: Bench) -> None:
        bench.writer.write(WHOLE.replace(b"\r\n", b"\r\n" + more, 1))
        assert b" 500 " in await bench.head()

    run(fails, work)
    (line,) = [record for record in caplog.records if record.name == "noetl.server"]
    assert (line.getMessage(), "RuntimeError: not so" in (line.exc_text or "")) == ("POST /api/execute failed", True)


def test_only_what_a_header_can_have_is_told_ahead_and_once() -> None:
    async def tells(asked: Asked) -> bytes:
        parts = (b"a\x7f", b"a\n", b"a\r", b"a\x00", "é".encode(), b"a" * 4097, b"a", b"a")
        return json.dumps([asked.early(part) for part in parts]).encode()

    async def work(bench: Bench) -> None:
        bench.writer.write(WHOLE)
        await bench.head()
        assert b"[false, false, false, false, false, false, true, false]" in await bench.head()

    run(tells, work)


def test_an_answer_that_is_sent_at_once_is_the_only_one() -> None:
    told: list[bool] = []

    async def tells(asked: Asked) -> bytes:
        told.append(asked.now(b"[1]"))
        told.append(asked.now(b"[2]"))
        return b"[3]"

    async def work(bench: Bench) -> None:
        for _ in range(2):
            bench.writer.write(WHOLE)
            assert b" 200 " in await bench.head()
            assert await bench.reader.readexactly(3) == b"[1]"
        bench.leaving.begin()
        bench.writer.write(WHOLE)
        assert b"\r\nconnection: close\r\n" in await bench.head()
        assert await bench.reader.read() == b"[3]"
        assert told == [True, False, True, False, False, False]

    run(tells, work)


def test_a_server_that_leaves_says_so_with_its_answer() -> None:
    async def work(bench: Bench) -> None:
        bench.leaving.begin()
        bench.writer.write(WHOLE + WHOLE)
        assert b"\r\nconnection: close\r\n" in await bench.head()
        assert await bench.reader.read() == b"{}"

    run(fine, work)
