"""The steps of an execution: how each of their runs stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from noetl.engine.value import loads
from noetl.server.answers import answer, iso, raw, runtime_of
from noetl.server.shown import row_of, summary

Json = Any
router = APIRouter(tags=["executions"])


@router.get("/api/executions/{execution_id}/steps")
async def steps(request: Request, execution_id: str) -> Response:
    """Return one entry for each run of a step: state, times, attempts, loop counts."""
    runtime = runtime_of(request)
    row = await row_of(runtime, execution_id)
    failed = failed_by(row)
    shown = [_step(step, failed) for step in await runtime.database.rows("steps", row["execution_id"])]
    plan = await runtime.loader.plan(row["catalog_id"])
    if any(step.step.when is not None for step in plan.steps.values()):
        shown += [_skipped(step) for step in await runtime.database.rows("steps_skipped", row["execution_id"])]
        shown.sort(key=lambda step: int(step["run"]))
    return answer({**summary(row), "steps": shown})


def failed_by(row: Mapping[str, Any]) -> str | None:
    """Return the step that an execution failed by."""
    step: str | None = (loads(row["error"]) if row["error"] else {}).get("step")
    return step


def step_state(row: Mapping[str, Any], failed: str | None = None) -> str:
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
    loop, state = None, step_state(row, failed)
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
