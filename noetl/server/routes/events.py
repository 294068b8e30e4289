"""What happened in an execution: a page of events at a time, or as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from noetl.engine.state import TERMINAL
from noetl.server.answers import answer, limit_of, runtime_of
from noetl.server.listeners import LOOK_AGAIN, wait
from noetl.server.runtime import Runtime
from noetl.server.shown import events_of, row_of, summary

router = APIRouter(tags=["executions"])
PACE = 0.04
"""Seconds for which events of a running execution are gathered before they are sent to a watcher."""
PAGE = 500


@router.get("/api/executions/{execution_id}/events")
async def events(request: Request, execution_id: str, after: int = 0, limit: int = 1000) -> Response:
    """Return an execution's events after one of them."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    found = await events_of(runtime, row, after, limit_of(limit, 10_000))
    return answer({"execution_id": execution_id, "status": row["status"], "events": found})


@router.get("/api/executions/{execution_id}/stream")
async def stream(request: Request, execution_id: str, after: int = 0) -> Response:
    """Send an execution's events as they happen (server-sent events), and `end` when it is final."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    last = request.headers.get("last-event-id", "")
    start = int(last) if last.isdigit() else after
    return StreamingResponse(
        _stream(runtime, row["execution_id"], start), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def _stream(runtime: Runtime, execution_id: int, after: int) -> AsyncIterator[bytes]:
    """Send what is new. The database is asked when the execution has moved on here, and now and then for what other servers did."""
    async with runtime.listeners.watch("execution", execution_id) as watch:
        heard, quiet = False, 0.0
        while not runtime.listeners.closed:
            watch.news.clear()
            row = None
            if not heard or watch.ended.is_set():
                row = await row_of(runtime, str(execution_id))
                known = row
            if not heard or watch.events > after:
                found = await events_of(runtime, known, after, PAGE, results=False)
                for event in found:
                    yield b"id: %d\nevent: event\ndata: %s\n\n" % (int(event["event_id"]), orjson.dumps(event))
                if found:
                    after, quiet = int(found[-1]["event_id"]), 0.0
                    if len(found) == PAGE:
                        continue
            if row is not None and row["status"] in TERMINAL:
                yield b"event: end\ndata: %s\n\n" % orjson.dumps(summary(row))
                return
            heard = await wait(watch.news, LOOK_AGAIN) and watch.execution is not None
            if heard:
                await wait(watch.ended, PACE)
                continue
            quiet += LOOK_AGAIN
            if quiet >= 10:
                quiet = 0.0
                yield b": ping\n\n"
