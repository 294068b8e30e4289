"""Deleting executions that are over."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.engine.state import TERMINAL
from noetl.errors import UsageError
from noetl.server.answers import answer, body_of, iso, limit_of, moment_of, number_of, runtime_of, text_of
from noetl.server.runtime import CLOCKS_APART

router = APIRouter(tags=["executions"])
PRUNED = 50
"""How many executions one request deletes, unless it asks for another number."""


@router.post("/api/executions/prune")
async def prune(request: Request) -> Response:
    """Delete executions that ended before a time, some at once: `{before, status?, path?, most?, dry_run?}`.

    The answer has how many were deleted; ask again until there are none. With `dry_run`, it says how many there are, and deletes nothing.
    """
    runtime = runtime_of(request)
    document = await body_of(request)
    before = moment_of(text_of(document, "before"))
    status, path = (str(document[name]) if document.get(name) else None for name in ("status", "path"))
    if status is not None and status.upper() not in TERMINAL:
        raise UsageError(f"status {status!r} is none of an execution that is over", "use COMPLETED, FAILED or CANCELLED")
    which = (runtime.first_id(before.timestamp() + 2 * CLOCKS_APART), before, status.upper() if status else None, path)
    if document.get("dry_run"):
        rows = await runtime.database.rows("prune_count", *which)
        found = [{"status": row["status"], "count": row["count"], "first": iso(row["first"]), "last": iso(row["last"])} for row in rows]
        return answer({"before": iso(before), "executions": found})
    async with runtime.database.transaction() as transaction:
        rows = await transaction.rows("prune_batch", *which, limit_of(int(number_of(document, "most", PRUNED))))
        deleted = await transaction.rows("prune_delete", [row["execution_id"] for row in rows]) if rows else []
    return answer({"before": iso(before), "deleted": len(deleted)})
