"""Reading requests and writing answers, without a detour through models where speed matters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from noetl.engine.value import Stored, Value, dumps, loads, may_be_long
from noetl.errors import UsageError
from noetl.server.runtime import Runtime

Json = Any


def runtime_of(request: Request) -> Runtime:
    """Return the server's parts."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def encoded(document: Json) -> bytes:
    """Return an answer's JSON text; orjson.Fragment values are spliced in undecoded."""
    try:
        return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return dumps(document)


def answer(document: Json, status: int = 200) -> Response:
    """Return a JSON answer."""
    return raw_answer(encoded(document), status)


def raw_answer(body: bytes, status: int = 200) -> Response:
    """Return an answer of JSON text."""
    return Response(body, status, media_type="application/json")


def sent(runtime: Runtime, value: Value) -> Response:
    """Return a value as an answer; one that is stored in chunks is streamed."""
    if not isinstance(value, Stored):
        return Response(value.raw(), media_type="application/json")
    headers = {"content-length": str(value.size)}
    return StreamingResponse(runtime.chunks.stream(value), media_type="application/json", headers=headers)


async def body_of(request: Request) -> dict[str, Json]:
    """Return the request's body, a JSON object; an empty one is {}."""
    return decoded(await request.body())


def decoded(raw: bytes) -> dict[str, Json]:
    """Return a request's body, a JSON object; an empty one is {}."""
    if not raw:
        return {}
    try:
        document = orjson.loads(raw)
        if may_be_long(raw):
            document = loads(raw)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the body is no JSON: {error}", "send a JSON object") from None
    if not isinstance(document, dict):
        raise UsageError("the body is no JSON object", 'send {"name": value, …}')
    return document


def text_of(document: Mapping[str, Json], name: str) -> str:
    """Return a text that the body must have."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"the body has no text {name!r}", f'send {{"{name}": "…"}}')
    return value


def mapping_of(document: Mapping[str, Json], name: str) -> dict[str, Json]:
    """Return an object of the body, empty where it is missing or null."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{name} is no JSON object", f'send {{"{name}": {{…}}}}')
    return value


def number_of(document: Mapping[str, Json], name: str, default: float) -> float:
    """Return a number of the body, the default where it is missing or null."""
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} is no number", f'send {{"{name}": {default:g}}}')
    return value


def id_of(text: str, what: str = "execution") -> int:
    """Return an id that came as text."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) >= 2**63:
        raise UsageError(f"{text!r} is no {what} id", f"see: noetl {what} list")
    return int(text)


def limit_of(limit: int, most: int = 1000) -> int:
    """Return how many rows to answer: at least 1, at most `most`."""
    return max(1, min(limit, most))


def raw(text: str | None) -> Json:
    """Return JSON text as it is, to be spliced into an answer."""
    return None if text is None else orjson.Fragment(text)


def iso(moment: datetime | None) -> str | None:
    """Return a moment as ISO text."""
    return None if moment is None else moment.isoformat()


def moment_of(text: str) -> datetime:
    """Return the moment that an ISO text names; in UTC where it does not say."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", "write one like 2026-01-31T09:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
