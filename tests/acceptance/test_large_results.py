"""Results that are too large for a row: stored in pieces ahead of their report, streamed to whoever uses them, refused above the limit."""

from __future__ import annotations

import asyncio
import hashlib
import time
import zlib
from typing import Any

import psutil
import pytest
from live import Live

from noetl.errors import NoetlError
from noetl.worker.api import Api

Json = Any
MIB = 1024**2
LIMIT = 24 * MIB
PLATFORM = {"NOETL_MAX_RESULT": str(LIMIT)}
"""A limit that tests can reach."""

MAKE = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: large, path: "large/make"}
workload: {bytes: 1000}
workflow:
  - step: start
    tool:
      kind: python
      args: {bytes: "{{ workload.bytes }}"}
      code: |
        def main(bytes):
            import random
            return {"bytes": bytes, "text": random.Random(bytes).randbytes(bytes // 2).hex()}
    vars: {seen: "{{ result.text | length }}"}
    case:
      - when: "{{ event.name == 'step.exit' and result.bytes > 0 }}"
        then: {next: {step: use, args: {first: "{{ start.text[:4] }}"}}}
  - step: use
    tool:
      kind: python
      code: |
        def main(start, seen, first):
            import hashlib
            return [len(start["text"]), seen, first, hashlib.sha256(start["text"].encode()).hexdigest()]
    next: end
  - step: end
"""
LOOP = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: loop, path: "large/loop"}
workload: {items: 4, bytes: 1000}
workflow:
  - step: start
    next: each
  - step: each
    loop: {in: "{{ range(workload['items']) | list }}", iterator: i, mode: parallel}
    tool:
      kind: python
      args: {bytes: "{{ workload.bytes }}"}
      code: |
        def main(i, bytes):
            if i == 1:
                return i
            return {"i": i, "text": str(i) * bytes}
    next: use
  - step: use
    tool:
      kind: python
      code: |
        def main(each):
            return [r if isinstance(r, int) else [r["i"], len(r["text"])] for r in each["results"]]
    next: end
  - step: end
"""
PARENT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: "large/parent"}
workflow:
  - step: start
    tool: {kind: playbook, path: large/child}
    next: use
  - step: use
    tool: {kind: python, code: "def main(start): return len(start['text'])"}
    next: end
  - step: end
"""
CHILD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: child, path: "large/child"}
workflow:
  - step: start
    tool: {kind: python, code: "def main(): return {'text': 'y' * 3000000}"}
"""


def test_a_large_result_is_stored_in_pieces_and_used(platform: Live) -> None:
    size = 16 * MIB
    platform.run(MAKE)
    server = psutil.Process(platform.a_server.pid)
    before = server.memory_info().rss
    eid = platform.execute(MAKE, {"bytes": size})
    peak = before
    while platform.api.get("/api/executions", path="large/make", limit=1)["executions"][0]["status"] == "RUNNING":
        peak = max(peak, server.memory_info().rss)
        time.sleep(0.02)
    text = platform.result(eid, "start")["text"]
    assert platform.finish(eid)["status"] == "COMPLETED"
    assert platform.result(eid, "use") == [len(text), len(text), text[:4], hashlib.sha256(text.encode()).hexdigest()]
    assert peak - before < size / 2, "the server held much of the result at once"
    (row,) = platform.sql("SELECT result, fence FROM command WHERE execution_id = $1 AND step = 'start'", int(eid))
    assert row["result"] is None
    pieces = platform.sql("SELECT number, size, length(body) AS packed FROM chunk WHERE execution_id = $1 ORDER BY number", int(eid))
    assert [piece["number"] for piece in pieces] == list(range(17))
    assert sum(piece["packed"] for piece in pieces) < size * 0.7
    (event,) = [event for event in platform.events(eid, "call.done") if event["node_name"] == "start"]
    shown = event["result"]
    assert (shown["stored"], shown["size"]) == (True, sum(piece["size"] for piece in pieces))
    assert platform.api.get(shown["href"])["text"] == text


def test_a_result_above_the_limit_is_refused_by_name(platform: Live) -> None:
    ended = platform.run(MAKE, {"bytes": LIMIT + 1})
    assert ended["status"] == "FAILED"
    assert ended["error"]["step"] == "start"
    assert "24.0 MiB is the most (NOETL_MAX_RESULT)" in ended["error"]["message"]
    assert "return where it is" in ended["error"]["message"]


def test_a_loop_of_large_results_is_streamed(platform: Live) -> None:
    ended = platform.run(LOOP, {"items": 5, "bytes": 2 * MIB})
    assert ended["status"] == "COMPLETED", ended["error"]
    eid = ended["execution_id"]
    assert platform.result(eid, "use") == [[i, 2 * MIB] if i != 1 else 1 for i in range(5)]
    whole = platform.result(eid, "each")
    assert whole["stats"] == {"total": 5, "success": 5, "failed": 0}
    assert [len(one["text"]) for one in whole["results"] if one != 1] == [2 * MIB] * 4
    (done,) = platform.events(eid, "loop.done")
    assert platform.api.get(done["result"]["href"]) == whole


def test_a_loop_of_many_small_results_is_streamed_in_order(platform: Live) -> None:
    ended = platform.run(LOOP, {"items": 40, "bytes": 50_000})
    assert ended["status"] == "COMPLETED", ended["error"]
    assert platform.result(ended["execution_id"], "use") == [[i, 50_000 * len(str(i))] if i != 1 else 1 for i in range(40)]


def test_what_a_step_uses_is_limited(platform: Live) -> None:
    ended = platform.run(LOOP, {"items": 6, "bytes": 6 * MIB})
    assert ended["status"] == "FAILED"
    assert ended["error"]["step"] == "use"
    assert "step use uses each (30.0 MiB)" in ended["error"]["message"]
    assert "together more than 24.0 MiB" in ended["error"]["message"]


def test_a_sub_playbook_gives_a_large_result(platform: Live) -> None:
    platform.register(CHILD)
    ended = platform.run(PARENT)
    assert ended["status"] == "COMPLETED", ended["error"]
    assert platform.result(ended["execution_id"], "use") == 3_000_000
    assert platform.result(ended["execution_id"], "start") == {"text": "y" * 3_000_000}


def test_pieces_count_under_the_live_lease_only(platform: Live) -> None:
    eid = platform.run(MAKE, {"bytes": 200_000})["execution_id"]
    (row,) = platform.sql("SELECT command_id, fence FROM command WHERE execution_id = $1 AND step = 'start'", int(eid))
    number, fence = row["command_id"], row["fence"]
    for other in (fence - 1, fence, fence + 1):
        with pytest.raises(NoetlError, match="is not leased under fence"):
            asyncio.run(_send(platform, f"{eid}/{number}/{other}/0", zlib.compress(b'"forged"')))
    with pytest.raises(NoetlError, match="no piece of a result"):
        asyncio.run(_send(platform, f"{eid}/{number}/1/0", b"no zlib"))
    with pytest.raises(NoetlError, match="has more than"):
        asyncio.run(_send(platform, f"{eid}/{number}/1/0", zlib.compress(b" " * 2 * MIB)))
    with pytest.raises(NoetlError, match="larger than"):
        asyncio.run(_send(platform, f"{eid}/{number}/1/24", zlib.compress(b"1")))


async def _send(platform: Live, address: str, body: bytes) -> None:
    api = Api(platform.a_server.url, platform.token, platform.home)
    await api.open()
    try:
        await api.put(f"/api/worker/chunk/{address}", body)
    finally:
        await api.close()


def test_pieces_of_leases_that_ended_without_them_are_swept(platform: Live) -> None:
    eid = int(platform.run(MAKE, {"bytes": 200_000})["execution_id"])
    (row,) = platform.sql("SELECT command_id, fence FROM command WHERE execution_id = $1 AND step = 'start'", eid)
    platform.sql("INSERT INTO chunk SELECT execution_id, command_id, fence + 7, number, size, body FROM chunk WHERE execution_id = $1", eid)
    platform.sql("INSERT INTO upload VALUES ($1, $2, $3)", eid, row["command_id"], row["fence"] + 7)
    platform.sql("UPDATE upload SET created_at = now() - interval '1 hour' WHERE execution_id = $1", eid)
    platform.until(lambda: not platform.sql("SELECT FROM upload WHERE execution_id = $1", eid), "the sweep has looked at the uploads")
    assert {row["fence"] for row in platform.sql("SELECT fence FROM chunk WHERE execution_id = $1", eid)} == {row["fence"]}
    assert len(platform.result(str(eid), "start")["text"]) == 200_000
