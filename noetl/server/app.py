"""The ASGI application: routes behind the gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from noetl import __version__
from noetl.errors import NoetlError, NotFound, UsageError
from noetl.server.answers import answer
from noetl.server.gate import Asked, Gate, internal
from noetl.server.routes import (
    catalog,
    credentials,
    db,
    events,
    executions,
    files,
    health,
    prune,
    retry,
    steps,
    stopping,
    variables,
    why,
    workers,
)
from noetl.server.runtime import Runtime

Direct = Callable[[Runtime, Asked], Awaitable[bytes]]
"""Answers a request."""

DIRECT: Mapping[str, Direct] = {
    "/api/execute": executions.executed,
    "/api/worker/claim": workers.claimed,
    "/api/worker/report": workers.reported,
}
"""What happens for every step goes past the framework, whose routing and middleware cost more than these do. /docs has them too."""


def create_app(runtime: Runtime) -> Gate:
    """Return the application of a running server."""
    api = FastAPI(title="NoETL", version=__version__, docs_url="/docs", redoc_url=None, openapi_url="/openapi.json")
    api.state.runtime = runtime
    for module in (health, catalog, executions, steps, events, stopping, prune, retry, why, variables, credentials, workers, files, db):
        api.include_router(module.router)
    api.add_exception_handler(NoetlError, _ours)
    api.add_exception_handler(HTTPException, _theirs)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(Exception, _unexpected)

    direct = {path: partial(handle, runtime) for path, handle in DIRECT.items()}
    settings = runtime.settings
    return Gate(api, direct, runtime.token, settings.max_request, settings.max_result + settings.max_request, runtime.leaving)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, NoetlError)
    return answer({"error": error.as_json()}, error.http_status)


async def _theirs(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found: NoetlError = NotFound(f"{request.method} {request.url.path} is not here", "see /docs")
    if error.status_code != 404:
        found = NoetlError(str(error.detail), "see /docs", code="http")
    return answer({"error": found.as_json()}, error.status_code)


async def _unexpected(request: Request, error: Exception) -> Response:
    return answer({"error": internal(error).as_json()}, 500)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    problem = UsageError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}", "see /docs")
    return answer({"error": problem.as_json()}, 400)
