"""The largest that there is: a loop of 100,000 items, a result of 50 MB. Both pass, with memory to spare."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from live import Live

Json = Any
MIB = 1024**2
# 100,000 items take two minutes. NOETL_TEST_ITEMS=100000 has them; whatever is said here of the number holds for any.
ITEMS = int(os.environ.get("NOETL_TEST_ITEMS", "8000"))
CHUNK = 1000
LOOP = f"""\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: largest, path: "largest/loop"}}
workflow:
  - step: start
    tool: {{kind: python, code: "def main(): return list(range({ITEMS}))"}}
    next: each
  - step: each
    loop: {{in: "{{{{ start }}}}", iterator: i, mode: parallel}}
    tool:
      kind: python
      code: |
        def main(i):
            if i % 4000 == 7:
                raise ValueError(i)
            return i * 2
    case:
      - when: "{{{{ event.name == 'call.error' }}}}"
        then: {{log: "item {{{{ i }}}} has failed"}}
    next: count
  - step: count
    tool: {{kind: python, code: "def main(each): return [len(each['results']), sum(r for r in each['results'] if r)]"}}
"""
RESULT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: result, path: "largest/result"}
workflow:
  - step: start
    tool:
      kind: python
      code: |
        def main():
            import random
            return {"text": random.Random(50).randbytes(25_000_000).hex()}
    next: use
  - step: use
    tool:
      kind: python
      code: |
        def main(start):
            import hashlib
            return [len(start["text"]), hashlib.sha256(start["text"].encode()).hexdigest()]
"""


@pytest.fixture(scope="module")
def platform(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    """A platform of its own, with limits as they are."""
    with make_live() as one:
        one.server()
        one.worker()
        yield one


def peak(live: Live) -> int:
    """Return the most memory that the server has had, in bytes."""
    status = Path(f"/proc/{live.a_server.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_many_items_each_recorded_once_in_chunks(platform: Live) -> None:
    """Invariant 6: the items are written in chunks, each a transition; nothing is lost, nothing is there twice."""
    before = peak(platform)
    eid = platform.execute(LOOP)
    ended = platform.finish(eid, within=900)
    assert ended["status"] == "COMPLETED", ended["error"]
    failed = len(range(7, ITEMS, 4000))
    each = "FROM noetl.command WHERE execution_id = $1 AND step = 'each'"
    (found,) = platform.sql(f"SELECT count(*) AS n, count(DISTINCT item) AS items, min(item) AS first, max(item) AS last {each}", int(eid))
    assert found == {"n": ITEMS, "items": ITEMS, "first": 0, "last": ITEMS - 1}
    statuses = {row["status"]: row["n"] for row in platform.sql(f"SELECT status, count(*) AS n {each} GROUP BY 1", int(eid))}
    assert statuses == {"done": ITEMS - failed, "failed": failed}
    wrong = platform.sql(f"SELECT item, result::text AS got {each} AND status = 'done' AND result::text <> (item * 2)::text", int(eid))
    assert wrong == []
    (loop,) = platform.sql("SELECT total, issued, done, failed, cancelled, closed FROM noetl.loop WHERE execution_id = $1", int(eid))
    assert loop == {"total": ITEMS, "issued": ITEMS, "done": ITEMS - failed, "failed": failed, "cancelled": 0, "closed": True}
    chunks = platform.sql("SELECT json_array_length(items) AS n FROM noetl.loop_items WHERE execution_id = $1 ORDER BY chunk", int(eid))
    assert [row["n"] for row in chunks] == [CHUNK] * (ITEMS // CHUNK)
    # Commands are issued a chunk at a time, each in a transition of its own: a commit may take in two, but never has them all.
    issued = platform.sql(f"SELECT count(*) AS n {each} GROUP BY created_at", int(eid))
    assert max(row["n"] for row in issued) <= 2 * CHUNK
    results = platform.result(eid, "each")["results"]
    assert results == [None if item % 4000 == 7 else item * 2 for item in range(ITEMS)]
    assert platform.result(eid, "count") == [ITEMS, sum(one for one in results if one)]
    assert peak(platform) - before < 300 * MIB


def test_a_result_of_50_mb_passes_whole(platform: Live) -> None:
    """A result of 50 MB is stored in pieces, used by the next step, and read through the API, and is the same everywhere."""
    before = peak(platform)
    ended = platform.run(RESULT)
    assert ended["status"] == "COMPLETED", ended["error"]
    eid = ended["execution_id"]
    length, digest = platform.result(eid, "use")
    assert length == 50_000_000
    pieces = platform.sql("SELECT sum(size) AS size, max(size) AS largest FROM noetl.chunk WHERE execution_id = $1", int(eid))
    assert pieces == [{"size": 50_000_000 + len(json.dumps({"text": ""}, separators=(",", ":"))), "largest": MIB}]
    # The server never had it as a whole.
    assert peak(platform) - before < 40 * MIB
    text = platform.result(eid, "start")["text"]
    assert (len(text), hashlib.sha256(text.encode()).hexdigest()) == (length, digest)
