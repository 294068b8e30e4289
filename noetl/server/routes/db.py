"""The schema, over the API."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.server.answers import answer, runtime_of
from noetl.store import migrate

router = APIRouter(prefix="/api/db", tags=["db"])


@router.post("/init")
async def init(request: Request) -> Response:
    """Bring the schema up to date."""
    return answer({"status": "success", "applied": await migrate.initialize(runtime_of(request).postgres)})


@router.get("/validate")
async def validate(request: Request) -> Response:
    """Tell how the schema differs from what this version makes."""
    differences = await migrate.validate(runtime_of(request).postgres)
    return answer({"valid": not differences, "differences": differences})
