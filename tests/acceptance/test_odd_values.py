"""Odd values at every door: stored as they are, or refused with a word about what is wrong; never stuck, never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from live import Live

Json = Any
ECHO = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: odd, path: "odd/echo"}
workload: {value: 1}
workflow:
  - step: start
    loop: {in: "{{ [workload.value, 1] }}", iterator: item, mode: parallel}
    tool: {kind: python, args: {given: "{{ item }}"}, code: "def main(given): return {'given': given}"}
    next: {step: keep, args: {value: "{{ workload.value }}"}}
  - step: keep
    tool: {kind: python, args: {v: "{{ workload.value }}"}, code: "def main(v): return {'v': v}"}
    vars: {kept: "{{ result.v }}"}
    next: end
  - step: end
"""
MADE = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: made, path: "odd/made"}
workload: {expression: "1"}
workflow:
  - step: start
    tool:
      kind: python
      args: {expression: "{{ workload.expression }}"}
      code: |
        def main(expression):
            import datetime, decimal
            return {"v": eval(str(expression))}
    vars: {kept: "{{ result.v }}"}
    next: end
  - step: end
"""


class Refused(int):
    """A status that refuses a value."""


DEEP = "[" * 10_000 + "]" * 10_000
SENT = {
    "NaN": ("NaN", Refused(400)),
    "Infinity": ("-Infinity", Refused(400)),
    "NUL": (r'"a\u0000b"', None),
    "NUL in a key": (r'{"a\u0000b": 1}', None),
    "half a character": (r'"\ud800"', Refused(400)),
    "2^53 + 1": (str(2**53 + 1), 2**53 + 1),
    "2^63": (str(2**63), 2**63),
    "2^64 + 1": (str(2**64 + 1), 2**64 + 1),
    "10^300 + 1": (str(10**300 + 1), 10**300 + 1),
    "10,000 levels": (DEEP, Refused(400)),
    "a long text": (json.dumps("x" * 1_000_000), "x" * 1_000_000),
    "a long key": (json.dumps({"k" * 100_000: 1}), {"k" * 100_000: 1}),
    "a number that is a float": ("1e308", 1e308),
    "above every float": ("1e999", Refused(400)),
}
"""JSON text, and what becomes of it: a value that comes back as it is, a status that refuses it, None for either."""

RETURNED = {
    "NaN": ("float('nan')", "nan, which JSON has no number for"),
    "Infinity": ("float('-inf')", "-inf, which JSON has no number for"),
    "NUL": ("'a\\0b'", "a NUL character"),
    "half a character": ("chr(0xd800)", "half a character"),
    "a key with half a character": ("{chr(0xd800): 1}", "half a character"),
    "2^63": ("2**63", 2**63),
    "2^64 + 1": ("2**64 + 1", 2**64 + 1),
    "10^300 + 1": ("10**300 + 1", 10**300 + 1),
    "bytes": ("b'\\xff'", "/w=="),
    "a moment": ("datetime.datetime(2026, 1, 2, 3)", "2026-01-02T03:00:00"),
    "Decimal": ("decimal.Decimal('1.5')", 1.5),
    "Decimal NaN": ("decimal.Decimal('NaN')", "JSON has no number for"),
    "deep": ("__import__('functools').reduce(lambda v, _: [v], range(10_000), 1)", "nested more than"),
    "endless": ("(lambda v: v.append(v) or v)([])", "it never ends"),
    "an object": ("object()", "no JSON value"),
    "a long key": ("{'k' * 100_000: 1}", {"k" * 100_000: 1}),
}
"""An expression, and what becomes of it: the value that is stored, or words of the step's error."""


@pytest.mark.parametrize("name", SENT)
def test_a_payload_and_a_variable_with_an_odd_value(live: Live, name: str) -> None:
    text, expected = SENT[name]
    live.register(ECHO)
    status, answer = post(live, "/api/execute", f'{{"path": "odd/echo", "payload": {{"value": {text}}}}}')
    if isinstance(expected, Refused):
        assert status == expected, answer
    else:
        assert status in ((200,) if expected is not None else (200, 400, 422)), answer
    if status != 200:
        assert answer["error"]["message"], answer
        assert "Traceback" not in answer["error"]["message"]
    else:
        ended = live.finish(answer["execution_id"])
        assert ended["status"] in (("COMPLETED",) if expected is not None else ("COMPLETED", "FAILED")), ended["error"]
        if expected is not None:
            assert live.result(answer["execution_id"], "keep") == {"v": expected}
            assert live.result(answer["execution_id"], "start")["results"][0] == {"given": expected}
    live.register(MADE)
    eid = live.execute(MADE)
    status, answer = post(live, f"/api/vars/{eid}", f'{{"variables": {{"odd": {text}}}}}')
    assert status in (200, 400, 409, 422), answer
    assert live.finish(eid)["status"] == "COMPLETED"
    assert post(live, f"/api/executions/{eid}/status", None)[0] == 200


@pytest.mark.parametrize("name", RETURNED)
def test_a_result_with_an_odd_value(live: Live, name: str) -> None:
    expression, expected = RETURNED[name]
    ended = live.run(MADE, {"expression": expression})
    eid = ended["execution_id"]
    if ended["status"] == "COMPLETED":
        assert live.result(eid, "start") == {"v": expected}
        assert live.status(eid)["variables"]["kept"] == expected
    else:
        assert ended["error"]["step"] == "start"
        assert isinstance(expected, str)
        assert expected in ended["error"]["message"]
    assert live.events(eid)


def post(live: Live, path: str, body: str | None) -> tuple[int, Json]:
    """Send text as it is; GET where there is none."""

    async def go() -> tuple[int, Json]:
        headers = {"Authorization": f"Bearer {live.token.reveal()}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:
            method = "POST" if body is not None else "GET"
            async with session.request(method, live.a_server.url + path, data=body.encode() if body else None) as response:
                return response.status, json.loads(await response.read())

    return asyncio.run(go())
