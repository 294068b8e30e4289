"""Sending a request over HTTP, and what comes back as a result."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import orjson
from yarl import URL

from noetl.tools.base import Json, ToolError
from noetl.tools.request import Request

_LARGEST = 256 * 1024**2
_LARGEST_TOLD = 16 * 1024
"""Bytes of a failed response's body that its error has, as `data`."""
_EXCERPT = 300
_PASSES = "it may pass: `retry: {max_attempts: 3, on: [connection, http_5xx, rate_limit]}` beside the step's tool"
_HINTS = {
    400: "the answer says what it does not take: correct the body, `params` or `headers`",
    401: "give `auth` a credential that may do this: noetl credential set NAME --type bearer --file FILE",
    403: "name another credential in `auth`: this one may not do it, or there is none",
    404: "correct the url: nothing is there",
    405: "correct `method`: that one is not taken there",
    409: "it is there already, or has changed meanwhile: let a rule handle `error.status == 409`",
    415: "send what is taken there: `headers: {Content-Type: TYPE}`",
    422: "the answer says what it does not take: correct the body, `params` or `headers`",
    429: _PASSES,
    501: "correct `method` or the url: that is not done there",
}
"""What to do about an answer, by its status."""
_sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
"""This process's session, by its event loop."""


async def send(request: Request, limit: float, session: aiohttp.ClientSession | None = None) -> dict[str, Json]:
    """Send the request; return its envelope, or raise for what is not 2xx and for no answer within `limit` seconds."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(limit):
            envelope = await _exchange(request, session or _session())
    except TimeoutError as error:
        hint = "raise `timeout` of the tool (of http 30 s if none is given), and that of the step if it is shorter"
        raise ToolError(f"no answer from {request.place} within {limit:g} s", hint, type="timeout") from error
    except aiohttp.InvalidURL as error:
        raise ToolError(f"{request.url!r} is no URL", type="config") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ToolError(f"{request.method} {request.place}: {reason}", _mend(request, error), type=type(error).__name__) from error
    envelope["elapsed"] = round(time.perf_counter() - started, 6)
    code = envelope["status_code"]
    if not 200 <= code < 300:
        failed = ToolError(
            _failure(request, envelope), _HINTS.get(code, _PASSES if code >= 500 else ""), type="http_status", status=code, result=envelope
        )
        if (body := envelope["data"]) is not None and len(orjson.dumps(body)) <= _LARGEST_TOLD:
            failed.details["data"] = body
        # A date is one by the clock of whoever answers, which may not be this machine's.
        now = _date(envelope["headers"].get("date", ""))
        failed.details["retry_after"] = retry_after(envelope["headers"].get("retry-after", ""), time.time() if now is None else now)
        raise failed
    return envelope


def _mend(request: Request, error: Exception) -> str:
    """Say what to do about a request that got no answer."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "correct the host in the url: the worker's machine does not know its name"
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError():
            return "let the worker's machine trust that certificate: SSL_CERT_FILE=FILE; or take any: `verify_ssl: false`"
        case aiohttp.ClientConnectorError():
            local = URL(request.url).host in ("localhost", "127.0.0.1", "::1")
            itself = f"; {URL(request.url).host} is that machine itself" if local else ""
            return f"see on the worker's machine: curl -v {request.place}; else correct the url{itself}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return _PASSES
    return ""


def retry_after(text: str, now: float) -> float | None:
    """Return the seconds that a `Retry-After` asks for, written as a number or as an HTTP date; None where it asks for nothing."""
    if text.strip().isdecimal() and len(text) < 12:
        return float(text)
    date = _date(text)
    return None if date is None else max(0.0, round(date - now, 3))


def _date(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, None where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def send_and_wait(request: Request, limit: float) -> dict[str, Json]:
    """Send the request from code that is not asynchronous, even where an event loop runs above it."""

    async def alone() -> dict[str, Json]:
        async with _new_session() as session:
            return await send(request, limit, session)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, alone()).result()


async def _exchange(request: Request, session: aiohttp.ClientSession) -> dict[str, Json]:
    body: Any = request.body
    if request.parts is not None:
        body = aiohttp.FormData(default_to_multipart=True)
        for name, value in request.parts.items():
            body.add_field(name, value)
    async with (
        _opened(request.file) as file,
        session.request(request.method, request.target, headers=request.headers, data=file or body, ssl=request.verify) as response,
    ):
        text = await _read(response)
        return {
            "status_code": response.status,
            "status": response.status,
            "headers": {name.lower(): value for name, value in response.headers.items()},
            "url": str(response.url),
            "elapsed": 0.0,
            "data": _data(response, text),
        }


@contextlib.asynccontextmanager
async def _opened(path: Path | None) -> AsyncIterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    with path.open("rb") as file:
        yield file


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_chunked(256 * 1024):
        size += len(part)
        if size > _LARGEST:
            raise ToolError(f"the response is larger than {_LARGEST // 1024**2} MiB", type="too_large", status=response.status)
        parts.append(part)
    return b"".join(parts)


def _data(response: aiohttp.ClientResponse, body: bytes) -> Json:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json") or kind == "text/json":
        try:
            return orjson.loads(body) if body.strip() else None
        except ValueError:
            pass
    encoding = response.charset or "utf-8"
    try:
        return body.decode(encoding, "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        session = _new_session()
        _sessions.clear()
        _sessions[loop] = session
    return session


def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "noetl"},
        trust_env=True,
    )


def _failure(request: Request, envelope: Mapping[str, Json]) -> str:
    data = envelope["data"]
    text = data if isinstance(data, str) else orjson.dumps(data).decode()
    text = " ".join(text.split())
    shown = text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
    return f"HTTP {envelope['status_code']} from {request.method} {request.place}" + (f": {shown}" if shown else "")
