"""What is in front of uvicorn's protocol: requests that every step makes are read and answered here, at a fraction of what they cost there.

A connection is uvicorn's from a request that is not plain until that one is answered.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from noetl.at_once import at_once
from noetl.deadline import Deadline
from noetl.server.gate import FORETOLD, JSON, Answer, Asked, Direct, Gate

MOST_HEAD = 8192
MOST_BODY = 1024 * 1024
"""Bytes. What is larger is uvicorn's, which reads it piece by piece."""
MOST_FORETOLD = 4096
"""Bytes that pass whatever stands between a worker and its server: all headers together may often have 8 KiB."""
REMEMBERED = 512
"""Heads, of all connections together, that need not be read again."""
_REQUEST = re.compile(rb"POST (/[!-~]*) HTTP/1\.1")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_ODD_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
"""A line of a head that does not end as it must: the end of such a head would never be found."""
_HEADER_TEXT = re.compile(rb"[ -~]*")
_EARLY = b"content-type: application/json\r\ntransfer-encoding: chunked\r\n%b: " % FORETOLD
_NOT_PLAIN = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"})


class Front(asyncio.Protocol):
    """One connection. `config.app` is the Gate."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._loop = _loop or asyncio.get_running_loop()
        self._gate = cast(Gate, config.app)
        self._state = server_state
        self._others = partial(Other, self._taken_back, config, server_state, app_state, self._loop)
        self._inner: Other | None = None
        self._transport: asyncio.Transport | None = None
        self._heads = self._gate.heads
        self._received = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self._call: Call | None = None
        self._last = False
        self._full = False
        self._idle = Deadline(self._close)
        self._patience = config.timeout_keep_alive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        at_once(self._transport)
        self._state.connections.add(cast(HttpToolsProtocol, self))
        self._idle.set(self._patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever asked is gone."""
        if self._inner is not None:
            self._inner.connection_lost(exc)
            return
        self._idle.close()
        self._state.connections.discard(cast(HttpToolsProtocol, self))
        if self._call is not None:
            self._call.gone()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request, or of several."""
        if self._inner is not None:
            self._inner.data_received(data)
            return
        if self._missing > len(data):
            self._parts.append(data)
            self._missing -= len(data)
            return
        self._received = b"".join((self._received, *self._parts, data))
        self._parts, self._missing = [], 0
        if self._call is None and not self._full:
            self._next()
        elif len(self._received) > MOST_HEAD + MOST_BODY:
            # Whoever sends that much ahead of an answer does not wait for any.
            self._hang_up()

    def pause_writing(self) -> None:
        """Tell uvicorn; our own answers are one write each, and the next request waits until they are read."""
        self._full = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Tell uvicorn, or go on."""
        self._full = False
        if self._inner is not None:
            self._inner.resume_writing()
        elif self._call is None and self._received:
            self._next()

    def shutdown(self) -> None:
        """Hang up once nothing is under way: the server stops."""
        self._last = True
        if self._call is None:
            self._close()

    @property
    def leaving(self) -> bool:
        """Whether this is its last answer."""
        return self._last or self._gate.leaving

    def write(self, data: bytes) -> None:
        """Send a part of an answer."""
        assert self._transport is not None
        self._transport.write(data)

    def answered(self, last: bool) -> None:
        """An answer is sent: go on to the next request, unless it was the last one."""
        self._call = None
        if last or self._last:
            self._close()
            return
        self._idle.set(self._patience)
        if self._received:
            self._next()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _hang_up(self) -> None:
        """End it without waiting for what is sent to be read."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        """Begin to answer the request that was received, if all of it is there."""
        if self._full or (self._transport is not None and self._transport.is_closing()):
            return
        received = self._received
        end = received.find(b"\r\n\r\n")
        if end < 0:
            if len(received) > MOST_HEAD or not received.startswith(b"POST /api/"[: len(received)]) or _ODD_END.search(received):
                self._hand_over()
            return
        head = received[:end]
        found = self._heads.get(head) or self._read(head)
        if found is None:
            self._hand_over()
            return
        handle, size = found
        missing = end + 4 + size - len(received)
        if missing > 0:
            self._missing = missing
            self._idle.set(self._patience)
            return
        self._received = received[end + 4 + size :] if missing else b""
        self._idle.lift()
        self._call = call = Call(self, received[end + 4 : end + 4 + size])
        self._state.total_requests += 1
        task = self._loop.create_task(call.answer(self._gate, handle))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _read(self, head: bytes) -> tuple[Direct, int] | None:
        """Return what answers a request and the length of its body; None for one that is not plain, or not allowed."""
        request, *lines = head.split(b"\r\n")
        asks = _REQUEST.fullmatch(request)
        handle = self._gate.direct(asks[1].decode()) if asks else None
        if handle is None or len(head) > MOST_HEAD:
            return None
        headers: dict[bytes, bytes] = {}
        for line in lines:
            header = _HEADER.fullmatch(line)
            name = header[1].lower() if header else b""
            if header is None or name in headers or name in _NOT_PLAIN:
                return None
            headers[name] = header[2].rstrip()
        size = headers.get(b"content-length", b"")
        if (
            not size.isdigit()
            or len(size) > 7
            or int(size) > MOST_BODY
            or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        ):
            return None
        if int(size) > self._gate.max_request or not self._gate.allows(headers.get(b"authorization", b"")):
            return None
        if len(self._heads) >= REMEMBERED:
            self._heads.clear()
        self._heads[head] = found = handle, int(size)
        return found

    def _hand_over(self) -> None:
        """Until this request is answered the connection is uvicorn's."""
        assert self._transport is not None
        self._idle.close()
        self._state.connections.discard(cast(HttpToolsProtocol, self))
        self._inner = self._others()
        self._inner.connection_made(self._transport)
        received, self._received = self._received, b""
        self._inner.data_received(received)

    def _taken_back(self) -> None:
        """Uvicorn has read and answered all that it was given."""
        self._inner = None
        self._state.connections.add(cast(HttpToolsProtocol, self))
        self._idle.set(self._patience)


class Other(HttpToolsProtocol):
    """Uvicorn's protocol; `done` is called once it has nothing left to read or to answer and its connection goes on.

    A head has as long to come as a connection may be idle: uvicorn itself would wait for it for ever.
    """

    def __init__(self, done: Callable[[], None], config: Config, *given: Any) -> None:
        super().__init__(config, *given)
        self._done = done
        self._at_rest = False
        self._head = Deadline(self._too_late)
        self._patience = config.timeout_keep_alive

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a head."""
        super().connection_made(transport)
        self._head.set(self._patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever asked is gone."""
        self._head.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        self._at_rest = False
        super().data_received(data)

    def on_message_complete(self) -> None:
        """All of a request is there."""
        super().on_message_complete()
        self._at_rest = True

    def on_message_begin(self) -> None:
        """Another request begins."""
        self._at_rest = False
        self._head.set(self._patience)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._head.lift()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        last = self._at_rest and not self.pipeline and self.cycle.keep_alive and not self.transport.is_closing()
        super().on_response_complete()
        if last:
            self._unset_keepalive_if_required()
            self.connections.discard(self)
            self._head.close()
            self._done()

    def _too_late(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # What comes ahead of an answer has its time from that on.
            self._head.set(self._patience)
            return
        self.transport.close()


class Call(Asked):
    """One request on its way to its answer."""

    can_be_early = True

    def __init__(self, front: Front, body: bytes) -> None:
        super().__init__(body)
        self._front: Front | None = front
        self._begun = False
        self._gone: asyncio.Event | None = None

    def gone(self) -> None:
        """Whoever asked has hung up."""
        self._front = None
        if self._gone is not None:
            self._gone.set()

    async def answer(self, gate: Gate, handle: Direct) -> None:
        """Work the answer out and send it."""
        answer = await gate.answered(handle, self)
        if self._front is not None:
            self._send(self._front, answer)

    def now(self, body: bytes) -> bool:
        """Send the answer, ahead of what is returned, which is passed over then; return False where that is not possible."""
        front = self._front
        if front is None or front.leaving:
            return False
        self._send(front, Answer(200, body, JSON))
        return True

    def _send(self, front: Front, answer: Answer) -> None:
        self._front = None
        if not self._begun:
            front.write(_head(answer, b"content-length: %d\r\n\r\n" % len(answer.body)) + answer.body)
        elif answer.status == 200:
            front.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body))
        front.answered(answer.last or (self._begun and answer.status != 200))

    def early(self, part: bytes) -> bool:
        """Send JSON ahead of the answer, in one piece with its status; return False where that is not possible, or no longer."""
        if self._front is None or self._begun or len(part) > MOST_FORETOLD or not _HEADER_TEXT.fullmatch(part):
            return False
        self._begun = True
        self._front.write(STATUS_LINE[200] + _EARLY + part + b"\r\n\r\n")
        return True

    async def hung_up(self) -> None:
        """Return when the caller is gone."""
        self._gone = self._gone or asyncio.Event()
        if self._front is not None:
            await self._gone.wait()


def _head(answer: Answer, rest: bytes) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % header for header in answer.headers)
    return STATUS_LINE[answer.status] + lines + (b"connection: close\r\n" if answer.last else b"") + rest
