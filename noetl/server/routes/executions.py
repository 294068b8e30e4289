"""Executions: begin, watch, cancel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from noetl.engine.inputs import Cancel
from noetl.engine.state import TERMINAL, State
from noetl.engine.value import Stored, Value, dumps, loads
from noetl.errors import Conflict, NotFound, TooLarge, UsageError
from noetl.playbook.inputs import check_payload
from noetl.server.answers import (
    answer,
    body_of,
    decoded,
    encoded,
    id_of,
    iso,
    limit_of,
    mapping_of,
    number_of,
    raw,
    raw_answer,
    runtime_of,
    sent,
    text_of,
)
from noetl.server.chunks import place_of
from noetl.server.execution import Execution
from noetl.server.gate import Asked
from noetl.server.listeners import wait
from noetl.server.loader import Entry
from noetl.server.pending import Begin
from noetl.server.routes.catalog import unknown
from noetl.server.runtime import CLOCKS_APART, Runtime
from noetl.store.postgres import Outdated

Json = Any
router = APIRouter(tags=["executions"])
MAX_PAYLOAD = 4 * 1024 * 1024
LOOK_AGAIN = 2.0
"""Seconds after which a watcher looks for events that another server has written."""
PACE = 0.04
"""Seconds for which events of a running execution are gathered before they are sent to a watcher."""
PAGE = 500
SHOWN = 2000
"""How many of its events an execution is shown with; the others are read a page at a time."""
PRUNED = 50
"""How many executions one request deletes, unless it asks for another number."""
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
    begin = Begin(execution, parent, time.time(), asyncio.get_running_loop().create_future(), newest=entry.newest)
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
        "result": _shown(execution.id, result),
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
    begin = _moment(since) if since else None
    first = runtime.first_id(begin.timestamp()) if begin is not None else None
    rows = await runtime.database.rows("executions", wanted, path, id_of(before) if before else None, None, limit, first, begin)
    following = str(rows[-1]["execution_id"]) if len(rows) == limit else None
    return answer({"executions": [_summary(row) for row in rows], "next": following})


@router.get("/api/executions/{execution_id}")
async def execution(request: Request, execution_id: str) -> Response:
    """Return an execution with its first events; `next` is where the others are, if there are any."""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    output = loads(row["state"]).get("output")
    found = await _events(runtime, row, 0, SHOWN)
    following = f"/api/executions/{execution_id}/events?after={found[-1]['event_id']}" if len(found) == SHOWN else None
    return answer({**_summary(row), "payload": raw(row["payload"]), "output": output, "events": found, "next": following})


@router.get("/api/executions/{execution_id}/status")
async def status(request: Request, execution_id: str) -> Response:
    """Return where an execution stands: its steps, variables, and the last step's result."""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    steps = await runtime.database.rows("steps", row["execution_id"])
    state = loads(row["state"])
    variables = await runtime.database.rows("variables", row["execution_id"])
    failed = _failed_by(row)
    done = [step["step"] for step in steps if _step_state(step, failed) == "done"]
    last = state.get("last_step")
    return answer(
        {
            **_summary(row),
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


@router.get("/api/executions/{execution_id}/steps")
async def steps(request: Request, execution_id: str) -> Response:
    """Return one entry for each run of a step: state, times, attempts, loop counts."""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    failed = _failed_by(row)
    shown = [_step(step, failed) for step in await runtime.database.rows("steps", row["execution_id"])]
    plan = await runtime.loader.plan(row["catalog_id"])
    if any(step.step.when is not None for step in plan.steps.values()):
        shown += [_skipped(step) for step in await runtime.database.rows("steps_skipped", row["execution_id"])]
        shown.sort(key=lambda step: int(step["run"]))
    return answer({**_summary(row), "steps": shown})


@router.get("/api/executions/{execution_id}/result/{step}")
async def result(request: Request, execution_id: str, step: str) -> Response:
    """Return the latest result of a step; of a loop its aggregate. A large one is streamed."""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    return sent(runtime, await result_of(runtime, row["execution_id"], step))


@router.get("/api/executions/{execution_id}/stored/{address:path}")
async def stored(request: Request, execution_id: str, address: str) -> Response:
    """Send a result that an event or a status only refers to, as its `href` says."""
    runtime = runtime_of(request)
    await _row(runtime, execution_id)
    place = place_of(address)
    if place[1] != int(execution_id):
        raise NotFound(f"execution {execution_id} has no {address}", f"see: noetl execution status {execution_id}")
    return StreamingResponse(runtime.chunks.stream(Stored(place, 0)), media_type="application/json")


@router.post("/api/executions/{execution_id}/cancel")
async def cancel(request: Request, execution_id: str) -> Response:
    """Cancel an execution: no further step runs, workers stop what they run. `{reason?}`"""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    if row["status"] in TERMINAL:
        if row["status"] == "CANCELLED":
            return answer({"execution_id": execution_id, "status": "CANCELLED"})
        raise Conflict(f"execution {execution_id} is {row['status']}", f"see: noetl execution status {execution_id}")
    document = await body_of(request)
    at = datetime.fromtimestamp((await runtime.database.rows("clock"))[0][0], UTC)
    became = await runtime.committer.signal(row["execution_id"], Cancel(time.time(), str(document.get("reason", ""))[:1000]))
    stopped = [dict(step) for step in await runtime.database.rows("cancelled", row["execution_id"], at)]
    children = await runtime.database.rows("cancelled_children", row["execution_id"], at)
    named = [{"execution_id": str(child["execution_id"]), "path": child["path"]} for child in children]
    return answer({"execution_id": execution_id, "status": became, "stopped": stopped, "children": named})


@router.post("/api/executions/prune")
async def prune(request: Request) -> Response:
    """Delete executions that ended before a time, some at once: `{before, status?, path?, most?, dry_run?}`.

    The answer has how many were deleted; ask again until there are none. With `dry_run`, it says how many there are, and deletes nothing.
    """
    runtime = runtime_of(request)
    document = await body_of(request)
    before = _moment(text_of(document, "before"))
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


@router.post("/api/executions/{execution_id}/pause")
async def pause(request: Request, execution_id: str) -> Response:
    """Pause an execution and its sub-playbooks: nothing new starts, what runs finishes and is recorded. `{reason?}`"""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
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
    row = await _row(runtime, execution_id)
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


@router.get("/api/executions/{execution_id}/events")
async def events(request: Request, execution_id: str, after: int = 0, limit: int = 1000) -> Response:
    """Return an execution's events after one of them."""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    found = await _events(runtime, row, after, limit_of(limit, 10_000))
    return answer({"execution_id": execution_id, "status": row["status"], "events": found})


@router.get("/api/executions/{execution_id}/stream")
async def stream(request: Request, execution_id: str, after: int = 0) -> Response:
    """Send an execution's events as they happen (server-sent events), and `end` when it is final."""
    runtime = runtime_of(request)
    row = await _row(runtime, execution_id)
    last = request.headers.get("last-event-id", "")
    start = int(last) if last.isdigit() else after
    return StreamingResponse(
        _stream(runtime, row["execution_id"], start), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def result_of(runtime: Runtime, execution_id: int, step: str) -> Value:
    """Return the latest result of a step; null where there is none."""
    execution = await runtime.loader.execution(execution_id)
    if step in execution.plan.step_names:
        await runtime.loader.results(execution, [step])
    return execution.results.get(step) or Value.of(None)


async def _stream(runtime: Runtime, execution_id: int, after: int) -> AsyncIterator[bytes]:
    """Send what is new. The database is asked when the execution has moved on here, and now and then for what other servers did."""
    async with runtime.listeners.watch("execution", execution_id) as watch:
        heard, quiet = False, 0.0
        while not runtime.listeners.closed:
            watch.news.clear()
            row = None
            if not heard or watch.ended.is_set():
                row = await _row(runtime, str(execution_id))
                known = row
            if not heard or watch.events > after:
                found = await _events(runtime, known, after, PAGE, results=False)
                for event in found:
                    yield b"id: %d\nevent: event\ndata: %s\n\n" % (int(event["event_id"]), orjson.dumps(event))
                if found:
                    after, quiet = int(found[-1]["event_id"]), 0.0
                    if len(found) == PAGE:
                        continue
            if row is not None and row["status"] in TERMINAL:
                yield b"event: end\ndata: %s\n\n" % orjson.dumps(_summary(row))
                return
            heard = await wait(watch.news, LOOK_AGAIN) and watch.execution is not None
            if heard:
                await wait(watch.ended, PACE)
                continue
            quiet += LOOK_AGAIN
            if quiet >= 10:
                quiet = 0.0
                yield b": ping\n\n"


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


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", "write one like 2026-01-31T09:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _row(runtime: Runtime, execution_id: str) -> Mapping[str, Any]:
    row = await runtime.database.row("execution", id_of(execution_id))
    if row is None:
        raise NotFound(f"there is no execution {execution_id}", "see: noetl execution list")
    found: Mapping[str, Any] = row
    return found


def _summary(row: Mapping[str, Any]) -> dict[str, Json]:
    return {
        "execution_id": str(row["execution_id"]),
        "path": row["path"],
        "version": row["version"],
        "catalog_id": str(row["catalog_id"]),
        "status": row["status"],
        "start_time": iso(row["start_time"]),
        "end_time": iso(row["end_time"]),
        "duration": round(row["duration"], 4),
        "parent_execution_id": str(row["parent_execution_id"]) if row["parent_execution_id"] else None,
        "continues": str(row["continues"]) if row["continues"] else None,
        "continued_by": str(row["continued_by"]) if row["continued_by"] else None,
        "error": raw(row["error"]),
    }


async def _events(runtime: Runtime, row: Mapping[str, Any], after: int, limit: int, *, results: bool = True) -> list[dict[str, Json]]:
    found = []
    for event in await runtime.database.rows("events", row["execution_id"], after, limit):
        document = {
            "event_id": str(event["seq"]),
            "event_type": event["event_type"],
            "node_id": event["step"],
            "node_name": event["step"],
            "status": event["status"],
            "created_at": iso(event["created_at"]),
            "timestamp": iso(event["created_at"]),
            "context": {
                "run_id": event["run_id"],
                "item": event["item"],
                "command_id": event["command_id"],
                "detail": raw(event["detail"]),
            },
            "error": raw(event["error"]),
            "execution_id": str(row["execution_id"]),
            "catalog_id": str(row["catalog_id"]),
            "parent_execution_id": str(row["parent_execution_id"]) if row["parent_execution_id"] else None,
            "parent_event_id": None,
            "duration": event["duration"],
        }
        if results:
            document["result"] = await _event_result(runtime, row["execution_id"], event)
        found.append(document)
    return found


async def _event_result(runtime: Runtime, execution_id: int, event: Mapping[str, Any]) -> Json:
    if event["event_type"] == "loop.done":
        execution = await runtime.committer.execution(execution_id)
        return _shown(execution_id, await runtime.loader.aggregate(execution, event["run_id"]))
    if event["stored"] is not None:
        return _shown(execution_id, Stored(("command", execution_id, event["command_id"], event["fence"]), event["stored"]))
    return raw(event["result"])


async def _shown_result(runtime: Runtime, execution_id: int, step: str | None) -> Json:
    return _shown(execution_id, await result_of(runtime, execution_id, step)) if step else None


def _shown(execution_id: int, value: Value) -> Json:
    """Return a result as part of an answer: a large one only with its size and where it is."""
    if not isinstance(value, Stored):
        return orjson.Fragment(value.raw())
    return {"stored": True, "size": value.size, "href": f"/api/executions/{execution_id}/stored/{value.address}"}


def _failed_by(row: Mapping[str, Any]) -> str | None:
    """Return the step that an execution failed by."""
    step: str | None = (loads(row["error"]) if row["error"] else {}).get("step")
    return step


def _step_state(row: Mapping[str, Any], failed: str | None = None) -> str:
    """Say how a run of a step stands. A loop with items that failed is done where that was handled: the execution has not failed by it."""
    if row["total"] is not None:
        if not row["closed"]:
            return "running"
        if row["loop_failed"] and (row["step"] == failed or not row["loop_done"]):
            return "failed"
        return "cancelled" if row["loop_cancelled"] else "done"
    return next((state for state in ("running", "waiting") if row[state]), row["last"] or "done")


def _skipped(row: Mapping[str, Any]) -> dict[str, Json]:
    at = iso(row["created_at"])
    nothing = {"kind": "", "duration": None, "attempts": 0, "lost": 0, "worker": None, "loop": None, "error": None}
    return {"step": row["step"], "run": row["run_id"], "state": "skipped", "started_at": at, "ended_at": at, **nothing}


def _step(row: Mapping[str, Any], failed: str | None) -> dict[str, Json]:
    loop, state = None, _step_state(row, failed)
    if row["total"] is not None:
        finished = row["loop_done"] + row["loop_failed"] + row["loop_cancelled"]
        running = min(row["running"], row["total"] - finished)
        loop = {
            "total": row["total"],
            "done": row["loop_done"],
            "failed": row["loop_failed"],
            "cancelled": row["loop_cancelled"],
            "running": running,
            "waiting": row["total"] - finished - running,
        }
    ended = row["closed_at"] if row["total"] is not None else row["ended_at"]
    started = row["started_at"] or row["created_at"]
    return {
        "step": row["step"],
        "run": row["run_id"],
        "state": state,
        "kind": row["kind"],
        "started_at": iso(started),
        "ended_at": iso(ended),
        "duration": round((ended - started).total_seconds(), 4) if ended else None,
        "attempts": row["attempts"],
        "lost": int(row["lost"] or 0),
        "worker": row["worker_id"],
        "loop": loop,
        "error": raw(row["error"]) if state == "failed" or row["total"] is not None else None,
    }
