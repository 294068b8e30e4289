"""What is shown of an execution: its summary, its events, its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from noetl.engine.value import Stored, Value
from noetl.errors import NotFound
from noetl.server.answers import id_of, iso, raw
from noetl.server.runtime import Runtime

Json = Any


async def row_of(runtime: Runtime, execution_id: str) -> Mapping[str, Any]:
    """Return an execution's row; raise NotFound where there is none."""
    row = await runtime.database.row("execution", id_of(execution_id))
    if row is None:
        raise NotFound(f"there is no execution {execution_id}", "see: noetl execution list")
    found: Mapping[str, Any] = row
    return found


def summary(row: Mapping[str, Any]) -> dict[str, Json]:
    """Return what every answer about an execution says of it."""
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


async def events_of(runtime: Runtime, row: Mapping[str, Any], after: int, limit: int, *, results: bool = True) -> list[dict[str, Json]]:
    """Return an execution's events after one of them, with their results where these are wanted."""
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
        return shown(execution_id, await runtime.loader.aggregate(execution, event["run_id"]))
    if event["stored"] is not None:
        return shown(execution_id, Stored(("command", execution_id, event["command_id"], event["fence"]), event["stored"]))
    return raw(event["result"])


async def result_of(runtime: Runtime, execution_id: int, step: str) -> Value:
    """Return the latest result of a step; null where there is none."""
    execution = await runtime.loader.execution(execution_id)
    if step in execution.plan.step_names:
        await runtime.loader.results(execution, [step])
    return execution.results.get(step) or Value.of(None)


def shown(execution_id: int, value: Value) -> Json:
    """Return a result as part of an answer: a large one only with its size and where it is."""
    if not isinstance(value, Stored):
        return orjson.Fragment(value.raw())
    return {"stored": True, "size": value.size, "href": f"/api/executions/{execution_id}/stored/{value.address}"}
