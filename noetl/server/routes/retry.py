"""Continuing an execution that ended."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.server import continuation
from noetl.server.answers import answer, body_of, id_of, runtime_of

router = APIRouter(tags=["executions"])


@router.post("/api/executions/{execution_id}/retry")
async def retry(request: Request, execution_id: str) -> Response:
    """Begin an execution that keeps what another has done and runs the rest: `{from?, failed_items?, version?: same|latest, dry_run?}`.

    The answer has what runs again and what is kept; with `dry_run` nothing is begun.
    """
    runtime = runtime_of(request)
    document = await body_of(request)
    found = await continuation.planned(runtime, id_of(execution_id), continuation.wanted_of(document))
    if document.get("dry_run"):
        return answer({**found.document(), "dry_run": True})
    new = await continuation.begin(runtime, found)
    return answer({"execution_id": str(new.id), **found.document(), "status": new.state.status})
