"""The DuckDB file that an execution's steps share, as workers fetch and leave it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from noetl.server.answers import answer, body_of, id_of, number_of, runtime_of

router = APIRouter(prefix="/api/worker/file", tags=["workers"])


@router.get("/{execution_id}")
async def current(request: Request, execution_id: str) -> Response:
    """Tell which version of an execution's file counts: `{command, fence, size}`, each null where there is none."""
    found = await runtime_of(request).files.current(id_of(execution_id))
    command, fence, size = found or (None, None, None)
    return answer({"command": command, "fence": fence, "size": size})


@router.get("/{execution_id}/{command_id}/{fence}")
async def version(request: Request, execution_id: str, command_id: int, fence: int) -> Response:
    """Send a version."""
    stream = runtime_of(request).files.stream(id_of(execution_id), command_id, fence)
    return StreamingResponse(stream, media_type="application/octet-stream")


@router.put("/{execution_id}/{command_id}/{fence}/{number}")
async def piece(request: Request, execution_id: str, command_id: int, fence: int, number: int) -> Response:
    """Keep one piece of a version, a zlib stream, of a command that is leased under this fence."""
    await runtime_of(request).files.write(id_of(execution_id), command_id, fence, number, await request.body())
    return answer({"status": "success"})


@router.post("/{execution_id}/{command_id}/{fence}")
async def whole(request: Request, execution_id: str, command_id: int, fence: int) -> Response:
    """Tell that all pieces of a version are there: `{size}`. It counts once its command is done."""
    size = int(number_of(await body_of(request), "size", 0))
    await runtime_of(request).files.whole(id_of(execution_id), command_id, fence, size)
    return answer({"status": "success"})
