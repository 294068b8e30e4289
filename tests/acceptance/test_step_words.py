"""Bounds of steps, pools, inputs, outputs and `on_failure`: on real processes, where time and leases matter."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from live import Live

from noetl.errors import NoetlError
from noetl.ops import live as live_view

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
NAP = "def main(seconds=30):\n    import time\n    time.sleep(seconds)\n    return 'slept'"


@pytest.fixture(scope="module")
def platform(make_live: MakeLive) -> Iterator[Live]:
    with make_live({"NOETL_LEASE_SECONDS": "2"}) as one:
        one.server()
        one.worker("words-1")
        yield one


def playbook(name: str, workflow: list[Json], **more: Json) -> str:
    return json.dumps({"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": name}, "workflow": workflow, **more})


def nap(seconds: float) -> Json:
    return {"kind": "python", "code": NAP, "args": {"seconds": seconds}}


def test_a_call_is_bounded_and_made_again(platform: Live) -> None:
    text = playbook(
        "attempt", [{"step": "start", "tool": nap(600), "timeout": "500ms", "retry": {"max_attempts": 2, "delay": 0.2, "on": "timeout"}}]
    )
    finished = platform.run(text)
    assert finished["status"] == "FAILED" and finished["error"]["type"] == "timeout"
    assert len(platform.events(finished["execution_id"], "call.error")) == 2
    assert finished["duration"] >= 1.2


def test_a_run_is_bounded_over_all_its_attempts_and_its_worker_lets_go(platform: Live) -> None:
    step = {"step": "start", "tool": nap(600), "timeout": {"total": 1.5}, "retry": {"max_attempts": 9, "delay": 0.1}}
    rule = {"when": "{{ event.name == 'call.error' and error.type == 'timeout' }}", "then": {"next": "late"}}
    text = playbook("total", [{**step, "case": [rule]}, {"step": "late", "tool": nap(0)}])
    execution_id = platform.execute(text)
    finished = platform.finish(execution_id)
    assert finished["status"] == "COMPLETED", finished["error"]
    assert finished["duration"] >= 1.5
    rows = platform.sql("SELECT step, status FROM command WHERE execution_id = $1 ORDER BY command_id", int(execution_id))
    assert [(row["step"], row["status"]) for row in rows] == [("start", "cancelled"), ("late", "done")]
    platform.until(lambda: not sum(row["running"] for row in platform.api.get("/api/workers")["workers"]), "the worker has let go")


def test_what_a_run_out_of_time_writes_is_written(platform: Live) -> None:
    step = {"step": "start", "tool": nap(600), "timeout": {"total": 1}}
    sink = {"tool": "python", "code": "def main(data):\n    return 'written'"}
    rule = {"when": "{{ event.name == 'call.error' and error.type == 'timeout' }}", "then": [{"sink": sink}, {"next": "late"}]}
    finished = platform.run(playbook("total_sink", [{**step, "case": [rule]}, {"step": "late", "tool": nap(0)}]))
    assert finished["status"] == "COMPLETED", finished["error"]
    assert len(platform.events(finished["execution_id"], "sink.executed")) == 1


def test_a_bound_survives_the_server_that_set_it(platform: Live) -> None:
    text = playbook("survives", [{"step": "start", "loop": {"in": [1, 2, 3], "iterator": "i"}, "tool": nap(600), "timeout": {"total": 4}}])
    execution_id = platform.execute(text)
    platform.until(lambda: platform.events(execution_id, "step.enter"), "it runs")
    server = platform.a_server
    server.kill()
    platform.server(port=int(server.url.rpartition(":")[2]))
    finished = platform.finish(execution_id)
    assert finished["status"] == "FAILED" and "4 s in all" in finished["error"]["message"]
    loop = platform.sql("SELECT done, failed, cancelled, total FROM loop WHERE execution_id = $1", int(execution_id))[0]
    assert loop["done"] + loop["failed"] + loop["cancelled"] == loop["total"] == 3


def test_never_more_items_at_once_than_the_limit_though_a_worker_dies(platform: Live, tmp_path: Path) -> None:
    code = "def main(i, folder):\n    import pathlib, time\n    time.sleep(0.15)\n    mark = pathlib.Path(folder, str(i))\n"
    code += "    if i % 4 == 0 and not mark.exists():\n        mark.write_text('')\n        raise ValueError('first time')\n    return i"
    tool = {"kind": "python", "code": code, "args": {"i": "{{ i }}", "folder": str(tmp_path)}}
    loop = {"in": "{{ range(24) | list }}", "iterator": "i", "mode": "parallel", "limit": "{{ workload.most }}"}
    sink = {"when": "{{ event.name == 'call.done' }}", "then": {"sink": {"tool": "python", "code": "def main(data): pass"}}}
    step = {"step": "start", "loop": loop, "tool": tool, "retry": {"max_attempts": 3, "delay": 0.1}, "case": [sink]}
    other = platform.worker("words-2")
    execution_id = platform.execute(playbook("limit", [step], workload={"most": 3}))
    seen, killed = 0, False
    while platform.status(execution_id)["status"] == "RUNNING":
        live = "SELECT count(*) AS n FROM command WHERE execution_id = $1 AND status = 'running' AND lease_until > now()"
        now = platform.sql(live, int(execution_id))[0]["n"]
        assert now <= 3
        seen = max(seen, now)
        if not killed and seen == 3 and len(platform.events(execution_id, "sink.executed")) > 4:
            other.kill()
            killed = True
        time.sleep(0.05)
    assert platform.status(execution_id)["status"] == "COMPLETED" and killed and seen == 3
    assert sorted(platform.result(execution_id, "start")["results"]) == list(range(24))


def test_a_pool_runs_its_own_steps_and_their_sinks(platform: Live) -> None:
    sink = {"when": "{{ event.name == 'call.done' }}", "then": {"sink": {"tool": "python", "code": "def main(data): return data"}}}
    text = playbook(
        "pools", [{"step": "start", "tool": nap(0), "pool": "small", "case": [sink], "next": "b"}, {"step": "b", "tool": nap(0)}]
    )
    execution_id = platform.execute(text)
    time.sleep(1)
    assert platform.status(execution_id)["status"] == "RUNNING"
    platform.worker("small-1", pool="small")
    assert platform.finish(execution_id)["status"] == "COMPLETED"
    rows = platform.sql("SELECT kind, pool FROM command WHERE execution_id = $1 ORDER BY command_id", int(execution_id))
    assert [(row["kind"], row["pool"]) for row in rows] == [("python", "small"), ("sink:python", "small"), ("python", "default")]


class Busy(http.server.BaseHTTPRequestHandler):
    asked: list[float]

    def do_GET(self) -> None:
        self.asked.append(time.monotonic())
        self.send_response(429 if len(self.asked) == 1 else 200)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_server_that_asks_for_patience_gets_it(platform: Live) -> None:
    handler = type("Handler", (Busy,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        step = {"step": "start", "tool": {"kind": "http", "url": url}, "retry": {"on": ["rate_limit"], "delay": 0.05}}
        finished = platform.run(playbook("patience", [step]))
        assert finished["status"] == "COMPLETED", finished["error"]
        assert handler.asked[1] - handler.asked[0] >= 1  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def test_inputs_are_checked_before_anything_begins(platform: Live) -> None:
    inputs = {"count": {"type": "integer", "required": True, "min": 1}, "name": {"type": "string", "default": "nobody"}}
    text = playbook(
        "inputs", [{"step": "start", "tool": {"kind": "python", "code": "def main(name, count): return name * count"}}], input=inputs
    )
    with pytest.raises(NoetlError) as raised:
        platform.execute(text, {"count": "3", "nmae": "x"})
    assert "`count` has to be a whole number" in raised.value.message
    assert "`nmae` is unknown: did you mean `name`?" in raised.value.message
    finished = platform.run(text, {"count": 2})
    assert platform.result(finished["execution_id"], "start") == "nobodynobody"


def test_a_playbook_gives_its_output_also_to_the_step_that_waits_for_it(platform: Live) -> None:
    child = playbook(
        "giver",
        [{"step": "start", "tool": {"kind": "python", "code": "def main(n): return {'double': n * 2}", "args": {"n": "{{ n }}"}}}],
        input={"n": {"type": "integer", "required": True}},
        output={"twice": "{{ start.double }}", "many": "{{ range(3) | list }}"},
    )
    platform.register(child)
    parent = [{"step": "start", "tool": {"kind": "playbook", "path": "giver", "args": {"n": "{{ workload.n }}"}}}]
    finished = platform.run(playbook("taker", parent, workload={"n": 21}))
    assert platform.result(finished["execution_id"], "start") == {"twice": 42, "many": [0, 1, 2]}
    wrong = platform.run(playbook("taker", parent, workload={"n": "x"}))
    assert wrong["status"] == "FAILED" and wrong["error"]["type"] == "bad_input"
    own = platform.run(child, {"n": 1})
    assert platform.api.get(f"/api/executions/{own['execution_id']}")["output"] == {"twice": 2, "many": [0, 1, 2]}


def test_on_failure_runs_after_the_failure_and_sees_it(platform: Live, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    # What has not begun when the execution fails is withdrawn: the failure waits until the slow step runs.
    fails = f"import pathlib, time\nwhile not pathlib.Path({str(begun)!r}).exists():\n    time.sleep(0.01)\nraise ValueError('no')"
    outlasts = f"import pathlib, time\ndef main():\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(0.7)\n    return 'slept'"
    tell = {"kind": "python", "code": "def main(error, text): return {'text': text, 'step': error['step'], 'type': error['type']}"}
    text = playbook(
        "rescue",
        [
            {"step": "start", "next": ["bad", "slow"]},
            {"step": "bad", "tool": {"kind": "python", "code": fails}},
            {"step": "slow", "tool": {"kind": "python", "code": outlasts}},
            {"step": "tell", "tool": {**tell, "args": {"text": "so: {{ error }}"}}, "next": "more"},
            {"step": "more", "when": "{{ tell.step == 'bad' }}", "tool": nap(0)},
        ],
        on_failure="tell",
    )
    finished = platform.run(text)
    execution_id = finished["execution_id"]
    assert finished["status"] == "FAILED" and finished["error"]["step"] == "bad"
    assert platform.result(execution_id, "tell") == {"text": "so: ValueError: no (line 4 of the code)", "step": "bad", "type": "ValueError"}
    assert platform.result(execution_id, "slow") == "slept" and platform.result(execution_id, "more") == "slept"


def test_a_sub_playbook_out_of_time_is_cancelled_at_once(platform: Live) -> None:
    platform.register(playbook("sleeper", [{"step": "start", "tool": nap(600)}]))
    finished = platform.run(playbook("waiter", [{"step": "start", "tool": {"kind": "playbook", "path": "sleeper"}, "timeout": 1}]))
    assert finished["status"] == "FAILED" and finished["error"]["type"] == "timeout"
    assert finished["duration"] >= 1
    child = "SELECT status FROM execution WHERE parent_execution_id = $1"
    platform.until(lambda: platform.sql(child, int(finished["execution_id"]))[0]["status"] == "CANCELLED", "the child is cancelled")


def test_a_skipped_step_and_the_end_of_a_total_are_shown(platform: Live) -> None:
    text = playbook(
        "shown",
        [
            {"step": "start", "next": "never"},
            {"step": "never", "when": "{{ false }}", "tool": nap(0), "next": "long"},
            {"step": "long", "tool": nap(30), "timeout": {"total": "10m"}},
        ],
    )
    execution_id = platform.execute(text)
    shown = platform.until(lambda: [one for one in platform.steps(execution_id) if one["state"] in ("skipped", "running")][1:], "both")
    assert (shown[0]["step"], shown[0]["state"]) == ("long", "running")
    document = platform.api.get(f"/api/executions/{execution_id}/steps")
    assert [(one["step"], one["state"]) for one in document["steps"]] == [("never", "skipped"), ("long", "running")]
    assert live_view.lines({}, document)[0] == "↷ never  skipped"
    why = platform.api.get(f"/api/executions/{execution_id}/why")
    deadline = next(one for one in why["reasons"] if one["state"] == "deadline")
    assert (why["verdict"], deadline["step"]) == ("moving", "long") and "timeout.total" in deadline["text"]
    assert 500 < datetime.fromisoformat(deadline["until"]).timestamp() - time.time() <= 600
    platform.api.post(f"/api/executions/{execution_id}/cancel")
