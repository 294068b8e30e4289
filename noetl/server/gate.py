"""What every request passes: the token, the size limit, and the shape of errors. Plain ASGI, for speed."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

import orjson
from starlette.requests import ClientDisconnect

from noetl.errors import NoetlError, TooLarge, Unauthorized
from noetl.server.leaving import Leaving
from noetl.settings import Secret

logger = logging.getLogger("noetl.server")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Asked:
    """A request that goes past the app."""

    def __init__(self, body: bytes, receive: Receive | None = None, send: Send | None = None) -> None:
        self.body = body
        self.early = None if send is None else self._early
        self.started = self.over = False
        self._receive = receive
        self._send = send

    async def _early(self, part: bytes) -> bool:
        """Send JSON ahead of the answer, in one piece with its status; return False where that is not possible, or no longer."""
        if self._send is None or self.started or self.over or len(part) > MOST_FORETOLD or not part.isascii():
            return False
        self.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": [_JSON, (FORETOLD, part)]})
        return True

    async def hung_up(self) -> None:
        """Return when the caller is gone, or has its answer."""
        while self._receive is None or (await self._receive())["type"] != "http.disconnect":
            if self._receive is None:
                await asyncio.Event().wait()


Direct = Callable[[Asked], Awaitable[bytes]]
FORETOLD = b"noetl-foretold"
"""The header that has, as JSON, what is told ahead of an answer."""
MOST_FORETOLD = 4096
"""Bytes that pass whatever stands between a worker and its server: all headers together may often have 8 KiB."""
_JSON = (b"content-type", b"application/json")
OPEN = frozenset({"/health", "/api/health", "/ready", "/api/ready"})
REPORT = "/api/worker/report"


class Gate:
    """Lets through what has the token and is not too large; turns NoetlError into a JSON answer. What is in `direct` goes past the app."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        direct: Mapping[str, Direct],
        token: Secret,
        max_request: int,
        max_report: int,
        leaving: Leaving,
    ) -> None:
        self._app = app
        self._direct = direct
        self._expected = b"Bearer " + token.reveal().encode()
        self._max_request = max_request
        self._max_report = max_report
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._leaving.begun:
            send = _last(send)
            if scope["path"] not in OPEN:
                self._leaving.came()
        started = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            limited = self._limited(scope, receive)
            handle = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
            if handle is None:
                await self._app(scope, limited, watched)
            else:
                asked = Asked(await _body(limited), receive, watched)
                answer = await handle(asked)
                asked.over = True
                if asked.started:
                    await send({"type": "http.response.body", "body": answer})
                else:
                    await _answer(send, 200, answer)
        except NoetlError as error:
            if started:
                raise
            await answer_error(send, error)
        except ClientDisconnect:
            return
        except Exception as error:
            if started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await answer_error(send, internal(error))

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        authorization = declared = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-length":
                declared = value
        if scope["path"] not in OPEN and not hmac.compare_digest(authorization, self._expected):
            raise Unauthorized(
                "this needs the token",
                "send it as `Authorization: Bearer TOKEN`; it is in NOETL_HOME/token of the server, or NOETL_API_TOKEN",
            )
        limit = self._max_report if scope["path"] == REPORT else self._max_request
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        if declared:
            return receive
        size = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise _too_large(limit)
            return message

        return counted


def _last(send: Send) -> Send:
    """Let an answer be its connection's last: whoever asks again is to ask another server."""

    async def last(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return last


async def answer_error(send: Send, error: NoetlError) -> None:
    """Answer an error as JSON."""
    headers = [(b"www-authenticate", b"Bearer")] if error.http_status == 401 else []
    await _answer(send, error.http_status, orjson.dumps({"error": error.as_json()}, default=str), headers)


def internal(error: Exception) -> NoetlError:
    """Return what a mistake of ours is answered with: its kind, not its text, which may hold anything."""
    return NoetlError(f"the server failed: {type(error).__name__}", "see: noetl logs server", code="internal")


async def _answer(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    own = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request is larger than {limit} bytes", "make it smaller, or raise NOETL_MAX_REQUEST of the server")
