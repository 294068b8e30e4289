"""The largest that there is: a loop of 100,000 items, a result of 50 MB. Both pass, with memory to spare."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

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


def settled(live: Live) -> int:
    """Return the memory that the server has, in bytes: from now on that is the most that it has had."""
    Path(f"/proc/{live.a_server.pid}/clear_refs").write_text("5")
    return peak(live)


def peak(live: Live) -> int:
    """Return the most memory that the server has had, in bytes."""
    status = Path(f"/proc/{live.a_server.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def verb(live: Live, *words: str) -> Json:
    """Run a verb of the shipped command and return the JSON that it prints."""
    more = {"NOETL_SERVER_URL": live.a_server.url}
    done = subprocess.run([sys.executable, "-m", "noetl.cli", *words], env=live.environ(more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def recorded(live: Live, eid: str) -> Counter[tuple[str, int]]:
    """Return how often each item's end is told among all events, read through the API page by page."""
    found: Counter[tuple[str, int]] = Counter()
    page, last = verb(live, "execution", "get", eid)["events"], ""
    while page:
        assert last != page[-1]["event_id"]
        last = page[-1]["event_id"]
        found.update(
            (one["event_type"], one["context"]["item"])
            for one in page
            if one["node_name"] == "each" and one["event_type"] in ("call.done", "call.error")
        )
        page = live.api.get(f"/api/executions/{eid}/events", after=last, limit=10_000)["events"]
    return found


def test_many_items_each_recorded_once_in_chunks(platform: Live) -> None:
    """Invariants 6 and 7: the items are written in chunks, each a transition; nothing is lost, nothing is there twice."""
    before = settled(platform)
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
    # Nor does one row of the history tell of them all.
    (told,) = platform.sql("SELECT max(json_array_length(events)) AS n FROM noetl.history WHERE execution_id = $1", int(eid))
    assert told["n"] < 3 * CHUNK
    bad = set(range(7, ITEMS, 4000))
    assert recorded(platform, eid) == Counter({("call.error" if item in bad else "call.done", item): 1 for item in range(ITEMS)})
    results = platform.result(eid, "each")["results"]
    assert results == [None if item % 4000 == 7 else item * 2 for item in range(ITEMS)]
    assert platform.result(eid, "count") == [ITEMS, sum(one for one in results if one)]
    assert peak(platform) - before < 300 * MIB


def test_a_result_of_50_mb_passes_whole(platform: Live) -> None:
    """A result of 50 MB is stored in pieces, used by the next step, and read through the API, and is the same everywhere."""
    before = settled(platform)
    ended = platform.run(RESULT)
    assert ended["status"] == "COMPLETED", ended["error"]
    eid = ended["execution_id"]
    length, digest = platform.result(eid, "use")
    assert length == 50_000_000
    pieces = platform.sql("SELECT sum(size) AS size, max(size) AS largest FROM noetl.chunk WHERE execution_id = $1", int(eid))
    assert pieces == [{"size": 50_000_000 + len(json.dumps({"text": ""}, separators=(",", ":"))), "largest": MIB}]
    # The server never had it as a whole.
    assert peak(platform) - before < 40 * MIB
    # Verbs show where it is, and there it is as it was made; reading it costs the server no more than passing it on.
    shown = next(one["result"] for one in verb(platform, "execution", "get", eid)["events"] if one["event_type"] == "call.done")
    assert (shown["stored"], shown["size"]) == (True, pieces[0]["size"])
    for address in (shown["href"], f"/api/executions/{eid}/result/start"):
        text = platform.api.get(address)["text"]
        assert (len(text), hashlib.sha256(text.encode()).hexdigest()) == (length, digest)
    assert peak(platform) - before < 40 * MIB
