"""A kept connection to the server for what every step costs: one request after another, with nothing around them.

A general HTTP client spends more on a request than the server spends on recording a step (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from noetl.at_once import at_once
from noetl.deadline import Deadline
from noetl.errors import Unavailable
from noetl.settings import Secret

FORETOLD = b"noetl-foretold"
"""The header that has, as JSON, what the server tells ahead of its answer, while it still works on that."""
CONNECT = 5.0
"""Seconds that connecting may take."""


class Listener(Protocol):
    """Hears what comes for a request, the moment it is there: whoever waits for the answer is woken up later."""

    def told(self, raw: bytes) -> None:
        """Take in what the server tells ahead of its answer."""

    def answered(self, raw: bytes) -> None:
        """Take in the answer, of status 200."""


class Line:
    """Sends requests over one connection, which is made when it is needed. Requests that come meanwhile wait for their turn.

    `here` is a socket of the server on this machine, which costs half of what TCP does. Where nobody listens there, TCP it is.
    """

    def __init__(self, url: str, token: Secret, here: Path | None = None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = (parts.hostname or "127.0.0.1", parts.port or (443 if self._tls else 80))
        self._prefix = parts.path.rstrip("/")
        self._headers = (
            f" HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nAuthorization: Bearer {token.reveal()}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._here = None if self._tls else here
        self._turn = asyncio.Lock()
        self._connection: Connection | None = None

    async def post(self, path: str, body: bytes, seconds: float, listener: Listener | None = None) -> tuple[int, bytes]:
        """Send a request and return the answer's status and body; raise Unavailable where none comes within so many seconds."""
        async with self._turn:
            try:
                connection = self._connection
                if connection is None or connection.closed:
                    connection = self._connection = await self._connect()
                head = f"POST {self._prefix}{path}{self._headers}{len(body)}\r\n\r\n".encode("latin-1")
                return await connection.send(head, body, seconds, listener)
            except (OSError, TimeoutError) as error:
                self.close()
                raise Unavailable(
                    f"the server at {self._url} does not answer: {str(error) or type(error).__name__}", "see: noetl server status"
                ) from error
            except asyncio.CancelledError:
                # What still comes would be taken for the answer to the next request.
                self.close()
                raise

    def close(self) -> None:
        """Hang up; the next request connects anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT):
            if self._here is not None:
                # Nobody is there, or there can be no socket: whether the server answers is asked at its address.
                with contextlib.suppress(OSError):
                    _, connection = await loop.create_unix_connection(Connection, str(self._here))
                    return connection
            _, connection = await loop.create_connection(Connection, *self._address, ssl=self._tls)
        return connection


class Connection(asyncio.Protocol):
    """One connection; at most one request is under way."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._listener: Listener | None = None
        self._deadline = Deadline(self._late)

    def send(self, head: bytes, body: bytes, seconds: float, listener: Listener | None) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; the future has the answer's status and body, TimeoutError where none comes within so many seconds."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._listener = listener
        self._deadline.set(seconds)
        self._transport.write(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self._transport.write(body)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self._deadline.close()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        at_once(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take in a part of an answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"its answer is no HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits learns that no answer comes."""
        self.closed = True
        self._deadline.close()
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("the connection was closed"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Hand over what is told ahead of the answer."""
        if self._listener is not None and name.lower() == FORETOLD:
            self._listener.told(value)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        body, self._body = b"".join(self._body), []
        self._deadline.lift()
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            if self._listener is not None and status == 200:
                self._listener.answered(body)
            self._answer.set_result((status, body))
        if not self._parser.should_keep_alive():
            self.close()

    def _late(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
