"""Executions: begin them, list them, see where one stands and what it returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from noetl.engine.state import TERMINAL, State
from noetl.engine.value import Stored, Value, dumps, loads
from noetl.errors import NotFound, TooLarge, UsageError
from noetl.playbook.inputs import check_payload
from noetl.server.answers import (
    answer,
    decoded,
    encoded,
    id_of,
    limit_of,
    mapping_of,
    moment_of,
    number_of,
    raw,
    raw_answer,
    runtime_of,
    sent,
)
from noetl.server.chunks import place_of
from noetl.server.execution import Execution
from noetl.server.gate import Asked
from noetl.server.listeners import LOOK_AGAIN, wait
from noetl.server.loader import Entry
from noetl.server.pending import Begin
from noetl.server.routes.catalog import unknown
from noetl.server.routes.steps import failed_by, step_state
from noetl.server.runtime import Runtime
from noetl.server.shown import events_of, result_of, row_of, shown, summary
from noetl.store.postgres import Outdated

Json = Any
router = APIRouter(tags=["executions"])
MAX_PAYLOAD = 4 * 1024 * 1024
SHOWN = 2000
"""How many of its events an execution is shown with; the others are read a page at a time."""
LONGEST_WAIT = 300.0
"""Seconds that a caller may wait for an execution's end in the request that begins it."""


@router.post("/api/execute")
@router.post("/api/executions/run")
async def execute(request: Request) -> Response:
    """Begin an execution: `{path | catalog_id, version?, payload?, parent_execution_id?, wait?}`.

    With `wait`, the answer comes when the execution is over, or after so many seconds: its status, its error, its last step's result.
    """
    return raw_answer(await executed(runtime_of(request), Asked(await request.body())))


async def executed(runtime: Runtime, asked: Asked) -> bytes:
    """Answer a request to begin an execution."""
    document = decoded(asked.body)
    payload = mapping_of(document, "payload") or mapping_of(document, "workload")
    if len(dumps(payload)) > MAX_PAYLOAD:
        raise TooLarge(f"the payload is larger than {MAX_PAYLOAD} bytes", "put the data into a file or a table and pass its name")
    entry = await _entry(runtime, document)
    parent = document.get("parent_execution_id")
    began = partial(_begun, runtime, payload, id_of(str(parent)) if parent else None)
    try:
        execution = await began(entry)
    except Outdated:
        runtime.loader.forget_newest(entry.path)
        execution = await began(await _entry(runtime, document))
    seconds = min(number_of(document, "wait", 0), LONGEST_WAIT)
    told = {"execution_id": str(execution.id), "status": "started", "commands_generated": execution.state.next_command - 1}
    return encoded({**told, **await _awaited(runtime, execution, seconds)} if seconds > 0 else told)


async def _begun(runtime: Runtime, payload: dict[str, Json], parent: int | None, entry: Entry) -> Execution:
    """Begin an execution; raise Outdated where its playbook has a newer version than the one that was taken for the newest."""
    plan = await runtime.loader.plan(entry.catalog_id)
    check_payload(plan.playbook.inputs, plan.playbook.workload, payload, f"playbook {entry.path}")
    execution = Execution(
        id=runtime.execution_id(),
        catalog_id=entry.catalog_id,
        path=entry.path,
        version=entry.version,
        plan=plan,
        revision=0,
        state=State(),
        payload=payload,
        workload={},
        complete=True,
        variables={},
    )
    begin = Begin(execution, parent, runtime.clock(), asyncio.get_running_loop().create_future(), newest=entry.newest)
    await runtime.committer.put(begin)
    return begin.execution


async def _awaited(runtime: Runtime, execution: Execution, seconds: float) -> dict[str, Json]:
    """Wait for an execution's end; return what is told of it then, nothing where it takes longer."""
    deadline = time.monotonic() + seconds
    async with runtime.listeners.watch("execution", execution.id) as watch:
        while execution.state.status not in TERMINAL:
            left = deadline - time.monotonic()
            if left <= 0 or runtime.listeners.closed:
                return {}
            if await wait(watch.ended, min(left, LOOK_AGAIN)) and watch.execution is not None:
                execution = watch.execution
            else:
                execution = await runtime.loader.execution(execution.id)
    last = execution.state.last_step
    result = execution.results.get(last) if last else Value.of(None)
    if result is None:
        result = await result_of(runtime, execution.id, str(last))
    return {
        "status": execution.state.status,
        "path": execution.path,
        "version": execution.version,
        "error": execution.state.failure,
        "result_step": last,
        "result": shown(execution.id, result),
        **({"output": execution.state.output} if execution.plan.playbook.output is not None else {}),
    }


@router.get("/api/executions")
async def executions(
    request: Request,
    status: str | None = None,
    path: str | None = None,
    limit: int = 50,
    before: str | None = None,
    since: str | None = None,
) -> Response:
    """List executions, newest first; `next` is the `before` of the next page. Those that began `since` a time, in ISO form."""
    if status is not None and status.upper() not in {"RUNNING", "PAUSED", *TERMINAL}:
        raise UsageError(f"status {status!r} is not known", "use RUNNING, PAUSED, COMPLETED, FAILED or CANCELLED")
    runtime = runtime_of(request)
    limit = limit_of(limit)
    wanted = status.upper() if status else None
    begin = moment_of(since) if since else None
    first = runtime.first_id(begin.timestamp()) if begin is not None else None
    rows = await runtime.database.rows("executions", wanted, path, id_of(before) if before else None, None, limit, first, begin)
    following = str(rows[-1]["execution_id"]) if len(rows) == limit else None
    return answer({"executions": [summary(row) for row in rows], "next": following})


@router.get("/api/executions/{execution_id}")
async def execution(request: Request, execution_id: str) -> Response:
    """Return an execution with its first events; `next` is where the others are, if there are any."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    output = loads(row["state"]).get("output")
    found = await events_of(runtime, row, 0, SHOWN)
    following = f"/api/executions/{execution_id}/events?after={found[-1]['event_id']}" if len(found) == SHOWN else None
    return answer({**summary(row), "payload": raw(row["payload"]), "output": output, "events": found, "next": following})


@router.get("/api/executions/{execution_id}/status")
async def status(request: Request, execution_id: str) -> Response:
    """Return where an execution stands: its steps, variables, and the last step's result."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    steps = await runtime.database.rows("steps", row["execution_id"])
    state = loads(row["state"])
    variables = await runtime.database.rows("variables", row["execution_id"])
    failed = failed_by(row)
    done = [step["step"] for step in steps if step_state(step, failed) == "done"]
    last = state.get("last_step")
    return answer(
        {
            **summary(row),
            "current_step": next((run[1] for run in state["runs"]), last),
            "completed_steps": list(dict.fromkeys(done)),
            "completed": row["status"] in TERMINAL,
            "failed": row["status"] == "FAILED",
            "variables": {variable["name"]: raw(variable["value"]) for variable in variables},
            "output": state.get("output"),
            "result_step": last,
            "result": await _shown_result(runtime, row["execution_id"], last),
        }
    )


@router.get("/api/executions/{execution_id}/result/{step}")
async def result(request: Request, execution_id: str, step: str) -> Response:
    """Return the latest result of a step; of a loop its aggregate. A large one is streamed."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    return sent(runtime, await result_of(runtime, row["execution_id"], step))


@router.get("/api/executions/{execution_id}/stored/{address:path}")
async def stored(request: Request, execution_id: str, address: str) -> Response:
    """Send a result that an event or a status only refers to, as its `href` says."""
    runtime = runtime_of(request)
    await row_of(runtime, execution_id)
    place = place_of(address)
    if place[1] != int(execution_id):
        raise NotFound(f"execution {execution_id} has no {address}", f"see: noetl execution status {execution_id}")
    return StreamingResponse(runtime.chunks.stream(Stored(place, 0)), media_type="application/json")


async def _entry(runtime: Runtime, document: Mapping[str, Json]) -> Entry:
    catalog_id, path, version = document.get("catalog_id"), document.get("path"), document.get("version")
    if catalog_id is None and not isinstance(path, str):
        raise UsageError("neither path nor catalog_id is given", '{"path": "…", "payload": {…}}')
    if version in ("latest", ""):
        version = None
    if version is not None and not str(version).isdigit():
        raise UsageError(f"version {version!r} is no number", "leave it out for the newest")
    wanted = id_of(str(catalog_id), "catalog") if catalog_id is not None else None
    number = int(version) if version is not None else None
    entry = await runtime.loader.entry(wanted, path if isinstance(path, str) else None, number)
    if entry is None:
        raise unknown(path if isinstance(path, str) else str(catalog_id), number)
    return entry


async def _shown_result(runtime: Runtime, execution_id: int, step: str | None) -> Json:
    return shown(execution_id, await result_of(runtime, execution_id, step)) if step else None
