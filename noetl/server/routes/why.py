"""Why an execution stands where it stands."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.errors import NotFound
from noetl.server.answers import answer, id_of, runtime_of
from noetl.server.reasons import why

router = APIRouter(tags=["executions"])


@router.get("/api/executions/{execution_id}/why")
async def explain(request: Request, execution_id: str) -> Response:
    """Explain what an execution waits for, what moves it, or why it ended: `{verdict, reasons, last_error, type}`."""
    runtime = runtime_of(request)
    row = await runtime.database.row("why_execution", id_of(execution_id))
    if row is None:
        raise NotFound(f"there is no execution {execution_id}", "see: noetl execution list")
    return answer(await why(runtime, row))
