"""Stopping an execution: for good, or until it is to go on."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.engine.inputs import Cancel
from noetl.engine.state import TERMINAL
from noetl.engine.value import loads
from noetl.errors import Conflict
from noetl.server.answers import answer, body_of, runtime_of
from noetl.server.shown import row_of

router = APIRouter(tags=["executions"])


@router.post("/api/executions/{execution_id}/cancel")
async def cancel(request: Request, execution_id: str) -> Response:
    """Cancel an execution: no further step runs, workers stop what they run. `{reason?}`"""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    if row["status"] in TERMINAL:
        if row["status"] == "CANCELLED":
            return answer({"execution_id": execution_id, "status": "CANCELLED"})
        raise Conflict(f"execution {execution_id} is {row['status']}", f"see: noetl execution status {execution_id}")
    document = await body_of(request)
    at = datetime.fromtimestamp((await runtime.database.rows("clock"))[0][0], UTC)
    became = await runtime.committer.signal(row["execution_id"], Cancel(runtime.clock(), str(document.get("reason", ""))[:1000]))
    stopped = [dict(step) for step in await runtime.database.rows("cancelled", row["execution_id"], at)]
    children = await runtime.database.rows("cancelled_children", row["execution_id"], at)
    named = [{"execution_id": str(child["execution_id"]), "path": child["path"]} for child in children]
    return answer({"execution_id": execution_id, "status": became, "stopped": stopped, "children": named})


@router.post("/api/executions/{execution_id}/pause")
async def pause(request: Request, execution_id: str) -> Response:
    """Pause an execution and its sub-playbooks: nothing new starts, what runs finishes and is recorded. `{reason?}`"""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    document = await body_of(request)
    if row["status"] in TERMINAL:
        raise Conflict(
            f"execution {execution_id} is {row['status']}: there is nothing to pause", f"see: noetl execution why {execution_id}"
        )
    became = await runtime.pauses.pause(row["execution_id"], str(document.get("reason", ""))[:1000])
    if became == "RUNNING":
        raise Conflict(
            f"execution {execution_id} has failed, and only waits for what is in flight", f"see: noetl execution why {execution_id}"
        )
    if became != "PAUSED":
        raise Conflict(f"execution {execution_id} is {became}: there is nothing to pause", f"see: noetl execution why {execution_id}")
    return answer({"execution_id": execution_id, "status": became})


@router.post("/api/executions/{execution_id}/resume")
async def resume(request: Request, execution_id: str) -> Response:
    """Let a paused execution and its sub-playbooks go on; one that runs already is answered the same."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    if row["status"] in TERMINAL:
        raise Conflict(
            f"execution {execution_id} is {row['status']}: there is nothing to resume",
            f"run it again: noetl execution retry {execution_id}",
        )
    by = (loads(row["state"]).get("paused") or {}).get("by")
    if by is not None:
        raise Conflict(f"execution {execution_id} is paused because its parent {by} is", f"type: noetl execution resume {by}")
    became = await runtime.pauses.resume(row["execution_id"])
    return answer({"execution_id": execution_id, "status": became})
