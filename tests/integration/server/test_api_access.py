"""Who gets in, and how refusals look."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

import pytest
from live import Live

Json = Any
OPEN = {"/health", "/api/health", "/ready", "/api/ready"}
PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: small, path: api/small}
workflow:
  - step: start
    tool: {kind: python, code: "result = {'n': 1}"}
"""


def ask(live: Live, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it is and return status, headers (lower-case) and body."""
    host, _, port = live.a_server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def bearer(live: Live) -> str:
    """Return the header that lets in."""
    return f"Bearer {live.token.reveal()}"


def told(body: bytes) -> dict[str, Json]:
    """Return an answer's error, checking its shape."""
    error: dict[str, Json] = json.loads(body)["error"]
    assert set(error) - {"details"} == {"code", "message", "hint"}
    assert re.fullmatch(r"[a-z_]+", error["code"])
    assert error["message"]
    return error


def endpoints(live: Live) -> list[tuple[str, str]]:
    """Return every endpoint there is, and the framework's own."""
    document = json.loads(ask(live, "GET", "/openapi.json", authorization=bearer(live))[2])
    found = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    return [*found, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/metrics"), ("GET", "/"), ("GET", "/docs/oauth2-redirect")]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}, {"authorization": "Basic YTpi"}, {"cookie": "token=x"}]
)
def test_nothing_but_health_answers_without_the_token(live: Live, headers: dict[str, str]) -> None:
    """X1."""
    found = endpoints(live)
    assert len(found) > 30
    for method, path in found:
        target = re.sub(r"\{[^}]*\}", "1", path)
        status, answered, body = ask(live, method, target, b"{}" if method == "POST" else None, **headers)
        if path in OPEN:
            assert status == 200, path
            assert live.token.reveal() not in body.decode()
            continue
        assert status == 401, (method, path)
        assert told(body)["code"] == "unauthorized"
        assert answered["www-authenticate"] == "Bearer"


def test_paths_that_resemble_health_are_no_way_in(live: Live) -> None:
    """X1."""
    for path in (
        "/health/../api/workers",
        "/api/workers?/health",
        "//api/workers",
        "/health/",
        "/ready/x",
        "/API/HEALTH",
        "/health;/api/workers",
    ):
        assert ask(live, "GET", path)[0] in (401, 404, 400), path
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        assert ask(live, method, "/api/workers")[0] == 401


def test_everything_but_health_is_open_to_the_token(live: Live) -> None:
    for path in ("/docs", "/openapi.json", "/metrics", "/api/workers", "/api/pools", "/api/catalog", "/api/executions", "/api/credentials"):
        assert ask(live, "GET", path, authorization=bearer(live))[0] == 200, path


def test_what_is_not_there(live: Live) -> None:
    for method, path, code in [
        ("GET", "/nowhere", 404),
        ("PUT", "/api/workers", 405),
        ("GET", "/api/executions/12345", 404),
        ("GET", "/api/executions/x", 400),
        ("GET", f"/api/executions/{2**63}", 400),
        ("GET", "/api/executions/%C2%B2", 400),
        ("GET", "/api/executions/-1", 400),
        ("GET", "/api/executions/0012345/status", 404),
        ("GET", "/api/executions?limit=many", 400),
        ("GET", "/api/executions?status=odd", 400),
        ("GET", "/api/executions?before=x", 400),
        ("GET", f"/api/executions?limit={10**30}", 200),
        ("GET", f"/api/executions/12345/events?after={10**30}", 404),
        ("GET", "/api/catalog/entry", 400),
        ("GET", "/api/catalog/entry?path=nowhere", 404),
        ("GET", f"/api/catalog/entry?catalog_id={10**30}", 422),
        ("GET", f"/api/catalog/entry?path=x&version={10**30}", 422),
        ("GET", "/api/catalog/versions?path=nowhere", 404),
        ("GET", "/api/credentials/nobody", 404),
        ("DELETE", "/api/credentials/nobody", 404),
        ("GET", "/api/vars/12345/x", 404),
        ("POST", "/api/executions/12345/cancel", 404),
    ]:
        status, _, body = ask(live, method, path, authorization=bearer(live))
        assert status == code, (method, path, body)
        if status >= 400:
            told(body)


@pytest.mark.parametrize("path", ["/api/execute", "/api/catalog/register", "/api/credentials", "/api/vars/1", "/api/worker/claim"])
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'"x"', b"\xff", b"", b'{"path": 3}', b'{"content": ["x"]}', b'{"name": "a\\u0000b"}', b"{" * 9999]
)
def test_a_body_that_is_no_request(live: Live, path: str, body: bytes) -> None:
    status, _, answer = ask(live, "POST", path, body, authorization=bearer(live))
    assert 400 <= status < 500, answer
    told(answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/worker/claim", {"worker_id": "w", "pool": "default", "most": "many"}),
        ("/api/worker/claim", {"worker_id": "w", "pool": "default", "wait": {}}),
        ("/api/worker/hello", {"worker_id": "w", "pool": "a b", "name": "n", "host": "h"}),
        ("/api/worker/hello", {"worker_id": "w", "pool": "p", "name": "n", "host": "h", "pid": "x"}),
        ("/api/worker/heartbeat", {"worker_id": "w", "held": [[1, 2]]}),
        ("/api/worker/heartbeat", {"worker_id": "w", "held": [["x", 2, 3]]}),
        ("/api/worker/heartbeat", {"worker_id": "w", "held": 3}),
        ("/api/worker/return", {"worker_id": "w", "held": [[1, "x", 3]]}),
        ("/api/worker/report", {"worker_id": "w", "pool": "default", "reports": 3}),
        ("/api/worker/report", {"worker_id": "w", "pool": "default", "reports": [{}]}),
        ("/api/worker/report", {"worker_id": "w", "pool": "default", "reports": [{"size": 5}]}),
        ("/api/worker/report", {"worker_id": "w", "pool": "default", "reports": [{"size": "x"}]}),
        ("/api/worker/report", {"worker_id": "w", "pool": "default", "reports": [{"execution_id": "1", "command_id": "x", "fence": 1}]}),
        ("/api/execute", {"path": "x", "payload": []}),
        ("/api/execute", {"path": "x", "version": -1}),
        ("/api/execute", {"path": "x", "version": 10**30}),
        ("/api/execute", {"path": "x\0"}),
        ("/api/execute", {"catalog_id": "x"}),
        ("/api/execute", {"path": "nowhere"}),
        ("/api/catalog/register", {"content": "x", "resource_type": "Robot"}),
        ("/api/credentials", {"name": "x", "type": "y", "data": 3}),
        ("/api/credentials", {"name": "x", "type": "y", "data": {}, "tags": 3}),
    ],
)
def test_a_request_that_cannot_be_met(live: Live, path: str, body: dict[str, Json]) -> None:
    status, _, answer = ask(live, "POST", path, json.dumps(body).encode(), authorization=bearer(live))
    assert 400 <= status < 500, answer
    told(answer)


def test_a_request_has_a_size_limit(live: Live) -> None:
    huge = b'{"content": "' + b"x" * (17 * 1024**2)
    status, _, body = ask(live, "POST", "/api/catalog/register", huge, authorization=bearer(live))
    assert status == 413
    assert told(body)["code"] == "too_large"

    def chunks() -> Any:
        for _ in range(17):
            yield b"x" * 1024**2

    host, _, port = live.a_server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("POST", "/api/catalog/register", chunks(), {"Authorization": bearer(live)}, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413
        told(response.read())
    finally:
        connection.close()
    payload = json.dumps({"path": "api/small", "payload": {"x": "y" * 5 * 1024**2}}).encode()
    assert ask(live, "POST", "/api/execute", payload, authorization=bearer(live))[0] == 413


def test_a_broken_playbook_is_answered_with_the_place(live: Live) -> None:
    """D1."""
    for content, line, word in [
        (PLAYBOOK.replace("kind: python", "kind: pyton"), 6, "python"),
        (PLAYBOOK + "  - step: [", 7, ""),
        (PLAYBOOK.replace("step: start", "step: begin"), 5, "start"),
    ]:
        body = json.dumps({"content": content, "source": "small.yaml"}).encode()
        status, _, answer = ask(live, "POST", "/api/catalog/register", body, authorization=bearer(live))
        assert status == 422
        error = told(answer)
        assert error["code"] == "bad_playbook"
        problem = error["details"]["problems"][0]
        assert set(problem) == {"line", "column", "message", "hint", "excerpt"}
        assert isinstance(problem["column"], int)
        assert "^" in problem["excerpt"]
        assert abs(problem["line"] - line) <= 2
        assert word in json.dumps(problem)
        assert error["message"].startswith(f"small.yaml:{problem['line']}:{problem['column']}: ")


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ now.__self__ }}",
        "{{ workload.__class__ }}",
    ],
)
def test_templates_reach_nothing_of_the_process(live: Live, text: str) -> None:
    """X3: on the server (workload, routing) and on the worker (arguments)."""
    head = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: x3}\n"
    quoted = json.dumps(text)
    step = f"workflow:\n  - {{step: start, tool: {{kind: python, code: 'result = repr(a)', args: {{a: {quoted}}}}}}}\n"
    route = (
        f"workflow:\n  - {{step: start, tool: {{kind: python, code: 'result = 1'}}, next: [{{step: end, args: {{a: {quoted}}}}}]}}\n"
        "  - {step: end, tool: {kind: python, code: 'result = repr(a)', args: {a: nothing}}}\n"
    )
    for content in (head + step, head + route, head + f"workload: {{a: {quoted}}}\n" + step.replace(quoted, '"{{ workload.a }}"')):
        body = json.dumps({"content": content}).encode()
        if ask(live, "POST", "/api/catalog/register", body, authorization=bearer(live))[0] == 422:
            continue
        ended = live.run(content)
        assert ended["status"] == "FAILED" or ended["result"] in ("None", "''", "nothing", "'nothing'"), ended
        assert "class '" not in json.dumps(ended)
