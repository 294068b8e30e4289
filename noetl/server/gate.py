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
from noetl.record import record
from noetl.server.leaving import Leaving
from noetl.settings import Secret

logger = logging.getLogger("noetl.server")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Asked:
    """A request that goes past the app."""

    can_be_early = False
    """Whether anything can be sent ahead of the answer at all."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def early(self, _part: bytes) -> bool:
        """Send JSON ahead of the answer, in one piece with its status; return False where that is not possible, or no longer."""
        return False

    def now(self, _body: bytes) -> bool:
        """Send the answer, ahead of what is returned, which is passed over then; return False where that is not possible."""
        return False

    async def hung_up(self) -> None:
        """Return when the caller is gone."""
        await asyncio.Event().wait()


class _Listening(Asked):
    """A request whose caller is heard through ASGI."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        super().__init__(body)
        self._receive = receive

    async def hung_up(self) -> None:
        """Return when the caller is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


@record
class Answer:
    """What a request is answered with. `last`: the connection ends with it."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]]
    last: bool = False


Direct = Callable[[Asked], Awaitable[bytes]]
FORETOLD = b"noetl-foretold"
"""The header that has, as JSON, what is told ahead of an answer."""
JSON = ((b"content-type", b"application/json"),)
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
        self.max_request = max_request
        self.heads: dict[bytes, tuple[Direct, int]] = {}
        """Heads of requests that were let past the app, byte for byte: what answers them, and how long their bodies are."""
        self._max_report = max_report
        self._leaving = leaving

    @property
    def leaving(self) -> bool:
        """Whether the server stops, so that answers are their connections' last."""
        return self._leaving.begun

    def direct(self, path: str) -> Direct | None:
        """Return what answers requests of a path past the app."""
        return self._direct.get(path)

    def allows(self, authorization: bytes) -> bool:
        """Whether a request's authorization has the token."""
        return hmac.compare_digest(authorization, self._expected)

    async def answered(self, handle: Direct, asked: Asked) -> Answer:
        """Work out the answer to a request that goes past the app, whatever happens."""
        if self._leaving.begun:
            self._leaving.came()
        try:
            return Answer(200, await handle(asked), JSON, self._leaving.begun)
        except NoetlError as error:
            return _refusal(error, self._leaving.begun)
        except Exception as error:
            path = next(path for path, known in self._direct.items() if known is handle)
            logger.exception("POST %s failed", path)
            return _refusal(internal(error), self._leaving.begun)

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
                await _send(send, await self.answered(handle, _Listening(await _body(limited), receive)))
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
        if scope["path"] not in OPEN and not self.allows(authorization):
            raise Unauthorized(
                "this needs the token",
                "send it as `Authorization: Bearer TOKEN`; it is in NOETL_HOME/token of the server, or NOETL_API_TOKEN",
            )
        limit = self._max_report if scope["path"] == REPORT else self.max_request
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
    await _send(send, _refusal(error))


def _refusal(error: NoetlError, last: bool = False) -> Answer:
    headers = (*JSON, (b"www-authenticate", b"Bearer")) if error.http_status == 401 else JSON
    return Answer(error.http_status, orjson.dumps({"error": error.as_json()}, default=str), headers, last)


def internal(error: Exception) -> NoetlError:
    """Return what a mistake of ours is answered with: its kind, not its text, which may hold anything."""
    return NoetlError(f"the server failed: {type(error).__name__}", "see: noetl server logs", code="internal")


async def _send(send: Send, answer: Answer) -> None:
    own = (b"content-length", b"%d" % len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, own]})
    await send({"type": "http.response.body", "body": answer.body})


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
