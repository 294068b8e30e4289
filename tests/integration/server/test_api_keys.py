"""The answers of the API have the keys that the language's own clients read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from live import Live

from noetl.errors import NotFound

Json = Any
STEPS = [
    {"step": "start", "tool": {"kind": "python", "code": "result = {'n': 1}"}, "vars": {"seen": "{{ result.n }}"}, "next": "each"},
    {"step": "each", "loop": {"in": [1, 2], "iterator": "i"}, "tool": {"kind": "python", "code": "def main(i): return i"}},
]
TEXT = json.dumps({"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "keys", "path": "api/keys"}, "workflow": STEPS})
EVENT = {"event_id", "event_type", "node_id", "node_name", "status", "created_at", "timestamp", "context", "result", "error"}
EVENT |= {"catalog_id", "parent_execution_id", "parent_event_id", "duration"}


@pytest.fixture(scope="module")
def execution(live: Live) -> str:
    content = base64.b64encode(TEXT.encode()).decode()
    registered = live.api.post("/api/catalog/register", {"content": content, "resource_type": "Playbook"})
    assert {"status", "message", "path", "version", "catalog_id", "kind"} <= set(registered)
    assert (registered["status"], registered["path"], registered["kind"]) == ("success", "api/keys", "Playbook")
    assert isinstance(registered["version"], int)
    begun = live.api.post("/api/execute", {"path": "api/keys", "payload": {"a": 1}})
    assert set(begun) == {"execution_id", "status", "commands_generated"}
    assert (begun["status"], begun["commands_generated"]) == ("started", 1)
    assert isinstance(begun["execution_id"], str)
    assert live.finish(begun["execution_id"])["status"] == "COMPLETED"
    by_id = live.api.post("/api/execute", {"catalog_id": registered["catalog_id"], "parent_execution_id": begun["execution_id"]})
    found = live.api.get(f"/api/executions/{by_id['execution_id']}")
    assert found["parent_execution_id"] == begun["execution_id"]
    return str(begun["execution_id"])


def test_an_unknown_path(live: Live) -> None:
    with pytest.raises(NotFound):
        live.api.post("/api/execute", {"path": "api/nowhere"})


def test_an_execution(live: Live, execution: str) -> None:
    found = live.api.get(f"/api/executions/{execution}")
    assert {"execution_id", "path", "status", "start_time", "end_time", "parent_execution_id", "events"} <= set(found)
    assert (found["execution_id"], found["path"], found["status"]) == (execution, "api/keys", "COMPLETED")
    assert all(set(event) >= EVENT for event in found["events"])
    assert all(isinstance(event["event_id"], str) and event["execution_id"] == execution for event in found["events"])
    results = {event["node_name"]: event["result"] for event in found["events"] if event["event_type"] == "step.exit"}
    assert results["start"] == {"n": 1}
    (loop,) = [event["result"] for event in found["events"] if event["event_type"] == "loop.done"]
    assert loop == {"results": [1, 2], "stats": {"total": 2, "success": 2, "failed": 0}}
    kinds = {event["event_type"] for event in found["events"]}
    assert kinds >= {"playbook.initialized", "workflow.initialized", "step.enter", "call.done", "step.exit", "loop.done"}
    assert kinds >= {"workflow.completed", "playbook.completed"}


def test_its_status(live: Live, execution: str) -> None:
    found = live.api.get(f"/api/executions/{execution}/status")
    assert {"current_step", "completed_steps", "failed", "completed", "variables"} <= set(found)
    assert (found["completed"], found["failed"], found["variables"]) == (True, False, {"seen": 1})
    assert sorted(found["completed_steps"]) == ["each", "start"]


def test_its_variables(live: Live, execution: str) -> None:
    found = live.api.get(f"/api/vars/{execution}")
    assert (found["execution_id"], found["count"]) == (execution, 1)
    keys = {"value", "type", "source_step", "created_at", "accessed_at", "access_count"}
    assert set(found["variables"]["seen"]) == keys
    assert (found["variables"]["seen"]["type"], found["variables"]["seen"]["source_step"]) == ("step_result", "start")
    stored = live.api.post(f"/api/vars/{execution}", {"variables": {"mine": [1]}, "var_type": "user_defined", "source_step": "api"})
    assert stored["variables"]["mine"]["value"] == [1]
    one = live.api.get(f"/api/vars/{execution}/mine")["variables"]["mine"]
    assert (one["value"], one["type"], one["source_step"], one["access_count"]) == ([1], "user_defined", "api", 1)


def test_credentials(live: Live) -> None:
    given = {"name": "api_keys", "type": "bearer", "data": {"token": "canary"}, "meta": {"a": 1}, "tags": ["t"], "description": "d"}
    live.api.post("/api/credentials", given)
    found = live.api.get("/api/credentials/api_keys")
    assert {name: found[name] for name in ("name", "type", "meta", "tags", "description")} == {
        name: value for name, value in given.items() if name != "data"
    }
    assert "canary" not in json.dumps([found, live.api.get("/api/credentials")])


@pytest.mark.parametrize("path", ["/health", "/api/health"])
def test_health(live: Live, path: str) -> None:
    assert live.api.get(path)["status"] == "ok"
