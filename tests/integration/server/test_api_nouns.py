"""Catalog, executions, variables, credentials, workers: what the API answers."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from live import Live

from noetl.errors import Conflict, NotFound, UsageError
from noetl.ops.client import Client

Json = Any
SMALL = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: small, path: "nouns/%s", description: a small one, labels: {team: a}}
workload: {n: 1}
workflow:
  - step: start
    tool: {kind: python, args: {n: "{{ workload.n }}"}, code: "result = {'n': n + 1}"}
    vars: {kept: "{{ result.n }}"}
    next: end
  - step: end
    tool: {kind: python, args: {n: "{{ start.n }}"}, code: "result = n * 10"}
"""


def test_each_change_is_a_version(live: Live) -> None:
    text = SMALL % "versions"
    first = live.register(text)
    same = live.register(text)
    second = live.register(text.replace("n: 1", "n: 5"))
    back = live.register(text)
    assert [one["version"] for one in (first, same, second, back)] == [1, 1, 2, 3]
    assert first["catalog_id"] == same["catalog_id"] != second["catalog_id"]
    assert isinstance(first["catalog_id"], str)
    assert {"status": "success", "kind": "Playbook", "path": "nouns/versions"}.items() <= first.items()
    listed = live.api.get("/api/catalog/versions", path="nouns/versions")["versions"]
    assert [one["version"] for one in listed] == [3, 2, 1]
    (entry,) = live.api.get("/api/catalog", path_prefix="nouns/vers")["entries"]
    assert (entry["version"], entry["versions"], entry["description"], entry["name"]) == (3, 3, "a small one", "small")
    assert live.api.get("/api/catalog", path_prefix="nouns/v%")["entries"] == []
    old = live.api.get("/api/catalog/entry", path="nouns/versions", version=1)
    assert (old["content"], old["labels"]) == (text, {"team": "a"})
    ended = [live.api.post("/api/execute", {"path": "nouns/versions", "version": version}) for version in (1, 2, None, "latest")]
    assert [live.finish(one["execution_id"])["result"] for one in ended] == [20, 60, 20, 20]


def test_a_version_that_another_server_registers_is_the_newest_at_once(live: Live) -> None:
    text = SMALL % "elsewhere"
    other = Client(live.server().url, live.token)
    live.register(text)
    first = live.api.post("/api/execute", {"path": "nouns/elsewhere", "wait": 20})
    assert (first["status"], first["version"], first["result"]) == ("COMPLETED", 1, 20)
    other.post("/api/catalog/register", {"content": text.replace("n: 1", "n: 5")})
    second = live.api.post("/api/execute", {"path": "nouns/elsewhere", "wait": 20})
    assert (second["version"], second["result"]) == (2, 60)


def test_a_caller_may_wait_for_the_end(live: Live) -> None:
    text = (SMALL % "waiting").replace("result = n * 10", "import time; time.sleep(1.5); result = n / 0")
    live.register(text)
    early = live.api.post("/api/execute", {"path": "nouns/waiting", "wait": 0.1})
    assert early["status"] == "started"
    assert "error" not in early
    ended = live.api.post("/api/execute", {"path": "nouns/waiting", "wait": 20})
    assert ended["status"] == "FAILED"
    assert ended["error"]["step"] == "end"


def test_twenty_at_once_make_versions_without_a_gap(live: Live) -> None:
    threads = [threading.Thread(target=live.register, args=((SMALL % "race").replace("n: 1", f"n: {number}"),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = live.api.get("/api/catalog/versions", path="nouns/race")["versions"]
    assert [one["version"] for one in listed] == list(range(20, 0, -1))


def test_content_may_be_base64(live: Live) -> None:
    import base64

    text = SMALL % "base64"
    assert live.register(base64.b64encode(text.encode()).decode())["path"] == "nouns/base64"
    assert live.api.get("/api/catalog/entry", path="nouns/base64")["content"] == text


def test_an_execution_from_begin_to_end(live: Live) -> None:
    live.register(SMALL % "one")
    begun = live.api.post("/api/execute", {"path": "nouns/one", "payload": {"n": 4}})
    assert begun["status"] == "started"
    assert begun["commands_generated"] == 1
    eid = begun["execution_id"]
    assert re.fullmatch(r"\d{15,19}", eid)
    ended = live.finish(eid)
    assert (ended["result"], ended["result_step"], ended["completed"], ended["failed"]) == (50, "end", True, False)
    assert ended["completed_steps"] == ["start", "end"]
    assert ended["variables"] == {"kept": 5}
    whole = live.api.get(f"/api/executions/{eid}")
    assert {
        "execution_id": eid,
        "path": "nouns/one",
        "status": "COMPLETED",
        "parent_execution_id": None,
        "payload": {"n": 4},
    }.items() <= whole.items()
    kinds = [event["event_type"] for event in whole["events"] if not event["event_type"].startswith("command.")]
    run = ["step.enter", "call.done", "step.exit"]
    assert kinds == ["playbook.initialized", "workflow.initialized", *run, *run, "workflow.completed", "playbook.completed"]
    wanted = {
        "event_id",
        "event_type",
        "node_id",
        "node_name",
        "status",
        "created_at",
        "timestamp",
        "context",
        "result",
        "error",
        "catalog_id",
    }
    assert all(wanted | {"parent_execution_id", "parent_event_id", "duration"} <= event.keys() for event in whole["events"])
    assert all(isinstance(event["event_id"], str) for event in whole["events"])
    assert [event["result"] for event in whole["events"] if event["event_type"] == "step.exit"] == [{"n": 5}, 50]
    assert live.result(eid, "start") == {"n": 5}
    assert [step["state"] for step in live.steps(eid)] == ["done", "done"]
    with pytest.raises(Conflict):
        live.api.post(f"/api/executions/{eid}/cancel")


def test_executions_are_listed_in_pages(live: Live) -> None:
    live.register(SMALL % "pages")
    begun = [live.api.post("/api/execute", {"path": "nouns/pages"})["execution_id"] for _ in range(5)]
    for eid in begun:
        live.finish(eid)
    found: list[str] = []
    before = None
    for _ in range(9):
        page = live.api.get("/api/executions", path="nouns/pages", limit=2, before=before)
        found += [one["execution_id"] for one in page["executions"]]
        before = page["next"]
        if before is None:
            break
    assert found == begun[::-1]
    by_status = live.api.get("/api/executions", path="nouns/pages", status="completed")["executions"]
    assert len(by_status) == 5
    assert live.api.get("/api/executions", path="nouns/pages", status="FAILED")["executions"] == []


def test_events_are_paged_and_streamed(live: Live) -> None:
    live.register(SMALL % "stream")
    eid = live.api.post("/api/execute", {"path": "nouns/stream"})["execution_id"]
    messages = list(live.api.stream(f"/api/executions/{eid}/stream"))
    assert messages[-1].event == "end"
    assert messages[-1].data["status"] == "COMPLETED"
    all_ids = [event["event_id"] for event in live.events(eid)]
    assert [message.id for message in messages[:-1]] == all_ids
    assert all(message.data["event_id"] == message.id for message in messages[:-1])
    later = list(live.api.stream(f"/api/executions/{eid}/stream", after=all_ids[3]))
    assert [message.id for message in later[:-1]] == all_ids[4:]
    page = live.api.get(f"/api/executions/{eid}/events", after=all_ids[1], limit=3)["events"]
    assert [event["event_id"] for event in page] == all_ids[2:5]


def test_variables(live: Live) -> None:
    eid = live.run(SMALL % "vars")["execution_id"]
    where = f"/api/vars/{eid}"
    found = live.api.get(where)
    assert (found["execution_id"], found["count"]) == (eid, 1)
    assert {"value": 2, "type": "step_result", "source_step": "start"}.items() <= found["variables"]["kept"].items()
    live.api.post(where, {"variables": {"odd name/1": {"a": [1, None]}, "zero": 0}, "source_step": "me"})
    assert live.api.get(where)["count"] == 3
    live.api.get(f"{where}/zero")
    zero = live.api.get(f"{where}/zero")["variables"]["zero"]
    assert (zero["value"], zero["type"], zero["source_step"], zero["access_count"]) == (0, "user_defined", "me", 2)
    assert zero["accessed_at"]
    for bad in ({"variables": []}, {"variables": {"x": 1}, "var_type": "odd"}):
        with pytest.raises(UsageError):
            live.api.post(where, bad)
    assert delete(live, f"{where}/zero")[0] == 200
    assert delete(live, f"{where}/zero")[0] == 404
    assert delete(live, where)[1]["count"] == 2
    assert live.api.get(where)["count"] == 0
    with pytest.raises(NotFound):
        live.api.post("/api/vars/1", {"variables": {"x": 1}})


def test_a_variable_set_from_outside_is_seen_by_a_running_execution(live: Live) -> None:
    text = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: outside_variable}
workflow:
  - {step: start, tool: {kind: python, code: "import time; time.sleep(0.7)"}, next: end}
  - {step: end, tool: {kind: python, args: {x: "{{ vars.x }}"}, code: "result = x"}}
"""
    eid = live.execute(text)
    live.api.post(f"/api/vars/{eid}", {"variables": {"x": "from outside"}})
    assert live.finish(eid)["result"] == "from outside"


def delete(live: Live, path: str) -> tuple[int, Json]:
    """Send a DELETE."""
    import http.client

    host, _, port = live.a_server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("DELETE", path, headers={"Authorization": f"Bearer {live.token.reveal()}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_credentials_data_is_shown_only_when_asked_for(live: Live) -> None:
    secret = "canary-of-the-api-4711"
    document = {"name": "shown", "type": "postgres", "data": {"db_password": secret}, "meta": {"a": 1}, "tags": ["t"], "description": "d"}
    answers = [live.api.post("/api/credentials", document), live.api.get("/api/credentials")]
    assert secret not in json.dumps(answers)
    (listed,) = [one for one in answers[1]["credentials"] if one["name"] == "shown"]
    assert {"type": "postgres", "meta": {"a": 1}, "tags": ["t"], "description": "d"}.items() <= listed.items()
    assert secret not in json.dumps(live.api.get("/api/credentials/shown"))
    assert live.api.get("/api/credentials/shown", include_data="false").get("data") is None
    assert live.api.get("/api/credentials/shown", include_data="true")["data"] == {"db_password": secret}
    (row,) = live.sql(
        "SELECT encode(data, 'escape') AS data, row_to_json(credential)::text AS whole FROM noetl.credential WHERE name = 'shown'"
    )
    for form in (secret, secret.encode().hex()):
        assert form not in row["data"] + row["whole"]
    assert delete(live, "/api/credentials/shown")[0] == 200


def test_a_credentials_data_cannot_be_moved_to_another_name(live: Live) -> None:
    for name in ("mine", "yours"):
        live.api.post("/api/credentials", {"name": name, "type": "x", "data": {"of": name}})
    live.sql("UPDATE noetl.credential SET data = (SELECT data FROM noetl.credential WHERE name = 'yours') WHERE name = 'mine'")
    with pytest.raises(Exception, match="cannot be decrypted"):
        live.api.get("/api/credentials/mine", include_data="true")


def test_a_server_with_another_key_refuses_to_start(make_live: Callable[..., AbstractContextManager[Live]]) -> None:
    with make_live() as one:
        server = one.server()
        one.api.post("/api/credentials", {"name": "x", "type": "y", "data": {"z": 1}})
        server.terminate()
        assert (one.home / "encryption_key").stat().st_mode & 0o777 == 0o600
        other = "A" * 43 + "="
        refused = one.server({"NOETL_ENCRYPTION_KEY": other}, wait=False)
        assert refused.process.wait(20) != 0
        assert "encryption key is not the one" in refused.said()
        assert other not in refused.said()
        short = one.server({"NOETL_ENCRYPTION_KEY": "c2hvcnQ="}, wait=False)
        assert short.process.wait(20) != 0
        assert "no base64 of 32 bytes" in short.said()
        key = (one.home / "encryption_key").read_text().strip()
        (one.home / "encryption_key").unlink()
        one.server({"NOETL_ENCRYPTION_KEY": key})
        assert one.api.get("/api/credentials/x", include_data="true")["data"] == {"z": 1}


def test_a_token_is_made_once_and_private(make_live: Callable[..., AbstractContextManager[Live]]) -> None:
    from noetl.ops.client import Client
    from noetl.settings import Secret

    with make_live() as one:
        server = one.server({"NOETL_API_TOKEN": ""}, wait=False)
        one.until(lambda: (one.home / "token").exists(), "the token is there")
        assert (one.home / "token").stat().st_mode & 0o777 == 0o600
        token = (one.home / "token").read_text().strip()
        assert len(token) >= 32
        client = Client(server.url, Secret(token))
        one.until(lambda: client.answers("/ready"), "the server is ready")
        assert client.get("/api/workers") == {"workers": []}
        assert token not in server.said()


def test_two_servers_on_one_port_of_one_home(make_live: Callable[..., AbstractContextManager[Live]]) -> None:
    """A3: the second says who is there, and leaves."""
    with make_live() as one:
        first = one.server()
        second = one.server(port=int(first.url.rsplit(":", 1)[1]), wait=False)
        second.process.wait(20)
        assert f"already running: pid {first.pid}" in second.said()
        assert first.alive


def test_health_and_readiness(live: Live) -> None:
    health = live.api.get("/health")
    assert {"status": "ok", "pid": live.a_server.pid}.items() <= health.items()
    ready = live.api.get("/ready")
    assert ready["status"] == "ready"
    assert all(check["ok"] for check in ready["checks"].values())
    assert set(ready["checks"]) == {"database", "nats", "schema"}
    assert live.api.get("/api/db/validate") == {"valid": True, "differences": []}
    assert live.api.post("/api/db/init") == {"status": "success", "applied": []}


def test_metrics_can_be_read_by_prometheus(live: Live) -> None:
    from urllib.request import Request, urlopen

    request = Request(f"{live.a_server.url}/metrics", headers={"Authorization": f"Bearer {live.token.reveal()}"})
    with urlopen(request) as response:
        text = response.read().decode()
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[\d.e+]+')
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines
    assert all(sample.fullmatch(line) for line in lines), lines
    described = set(re.findall(r"# TYPE (\w+)", text))
    assert {re.split(r"[{ ]", line)[0] for line in lines} <= described


def test_workers_and_pools(live: Live) -> None:
    (worker,) = [row for row in live.api.get("/api/workers")["workers"] if row["status"] == "ready" and row["name"] == "w1"]
    assert {"pool": "default", "slots": 8, "pid": live.processes[1].pid}.items() <= worker.items()
    (pool,) = [row for row in live.api.get("/api/pools")["pools"] if row["pool"] == "default"]
    assert (pool["workers"], pool["slots"]) == (1, 8)


def test_a_worker_without_the_token_is_told(live: Live) -> None:
    stranger = live.worker("stranger", more={"NOETL_API_TOKEN": "wrong"}, wait=False)
    try:
        assert stranger.process.wait(20) != 0
    except subprocess.TimeoutExpired:
        stranger.kill()
        pytest.fail(stranger.said())
    said = f"error: the server at {live.a_server.url} refuses this token\n"
    assert stranger.said() == f"{said}  set NOETL_API_TOKEN to the server's, or NOETL_HOME to the folder that has it\n"
