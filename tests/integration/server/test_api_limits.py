"""What is too much for the API is refused with the number and the limit."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from live import Live

from noetl.engine.turn import MAX_VARIABLE
from noetl.engine.waking import MAX_OUTPUT
from noetl.errors import TooLarge, UsageError
from noetl.playbook.check import NAME_LENGTH
from noetl.playbook.steps import MAX_VARIABLES
from noetl.server.routes.executions import MAX_PAYLOAD

WAITS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waits}
workflow: [{step: start, pool: nobody, tool: {kind: python, code: "result = 1"}}]
"""


OUTPUT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: large_output}
workload: {size: 0}
output: "{{ start }}"
workflow: [{step: start, tool: {kind: python, args: {size: "{{ workload.size }}"}, code: "result = 'x' * size"}}]
"""


def test_variables(live: Live) -> None:
    execution = live.execute(WAITS)
    path = f"/api/vars/{execution}"
    body = b'{"variables": {"big": [' + b",".join([b"1e9"] * 2_000_000) + b"]}}"
    request = urllib.request.Request(live.a_server.url + path, body, {"Authorization": f"Bearer {live.token.reveal()}"})
    with pytest.raises(urllib.error.HTTPError) as too_large:
        urllib.request.urlopen(request)
    with too_large.value as answered:
        assert answered.code == 413
        assert b"the variable big would have 26,000,001 bytes; at most 16,777,216 are possible" in answered.read()
    with pytest.raises(UsageError, match="a variable's name has 201 characters"):
        live.api.post(path, {"variables": {"n" * (NAME_LENGTH + 1): 1}})
    assert live.api.get(path)["count"] == 0
    live.api.post(path, {"variables": {f"v{number}": number for number in range(MAX_VARIABLES)}})
    live.api.post(path, {"variables": {"v1": "again"}})
    assert MAX_VARIABLE == 16_777_216
    with pytest.raises(TooLarge, match=f"execution {execution} would have 1,001 variables; at most 1,000 are possible") as refused:
        live.api.post(path, {"variables": {"v1": "not kept", "another": 1}})
    assert refused.value.hint == "keep what belongs together in one variable, an object"
    kept = live.api.get(path)["variables"]
    assert (len(kept), kept["v1"]["value"]) == (MAX_VARIABLES, "again")
    live.api.post(f"/api/executions/{execution}/cancel", {})


def test_a_payload(live: Live) -> None:
    live.register(WAITS)
    begun = len(live.api.get("/api/executions", path="waits", limit=1000)["executions"])
    fits = {"text": "x" * (MAX_PAYLOAD - len('{"text":""}'))}
    execution = str(live.api.post("/api/execute", {"path": "waits", "payload": fits})["execution_id"])
    with pytest.raises(TooLarge, match="the payload is larger than 4194304 bytes") as refused:
        live.api.post("/api/execute", {"path": "waits", "payload": {"text": fits["text"] + "x"}})
    assert refused.value.hint == "put the data into a file or a table and pass its name"
    assert len(live.api.get("/api/executions", path="waits", limit=1000)["executions"]) == begun + 1
    live.api.post(f"/api/executions/{execution}/cancel", {})


def test_an_output(live: Live) -> None:
    for size, status in ((MAX_OUTPUT - 2, "COMPLETED"), (MAX_OUTPUT - 1, "FAILED")):
        ended = live.run(OUTPUT, {"size": size})
        assert ended["status"] == status, ended["error"]
    assert ended["error"]["message"] == "output: it has 4194305 bytes; at most 4194304 are possible"
    assert ended["error"]["type"] == "too_large"
    assert live.api.get(f"/api/executions/{ended['execution_id']}")["output"] is None


def test_the_name_of_a_credential(live: Live) -> None:
    with pytest.raises(UsageError, match="the name 'a/b' has a slash"):
        live.api.post("/api/credentials", {"name": "a/b", "type": "bearer", "data": {"token": "t"}})
    with pytest.raises(UsageError, match="the name has 201 characters") as refused:
        live.api.post("/api/credentials", {"name": "n" * (NAME_LENGTH + 1), "type": "bearer", "data": {"token": "t"}})
    assert refused.value.hint == "a credential's name has at most 200"
