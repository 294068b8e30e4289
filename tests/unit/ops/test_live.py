from __future__ import annotations

import io
from typing import Any

from noetl.ops import live
from noetl.ops.follow import Snapshot


def step(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"step": name, "run": 1, "state": state, "duration": None, "attempts": 1, "loop": None, "error": None, "started_at": None} | more


def document(status: str, *steps: dict[str, Any]) -> dict[str, Any]:
    times = {"start_time": "2030-01-01T00:00:00+00:00", "end_time": "2030-01-01T00:00:02.5+00:00"}
    return {"execution_id": "7", "path": "examples/demo", "status": status, "steps": list(steps), **times}


def test_a_line_for_each_change_and_none_for_the_rest() -> None:
    before = document("RUNNING", step("a", "done", duration=0.5), step("b", "running"))
    now = document("RUNNING", step("a", "done", duration=0.5), step("b", "done", duration=1.25, attempts=3), step("c", "waiting"))
    assert live.lines(before, now) == ["✓ b  done  1.25 s  attempt 3", "· c  waiting"]


def test_a_loop_is_told_in_tenths() -> None:
    def loop(done: int) -> dict[str, Any]:
        return {"total": 1000, "done": done, "failed": 0, "running": 4, "cancelled": 0, "waiting": 996 - done}

    assert (
        live.lines(document("RUNNING", step("l", "running", loop=loop(101))), document("RUNNING", step("l", "running", loop=loop(150))))
        == []
    )
    said = live.lines(document("RUNNING", step("l", "running", loop=loop(150))), document("RUNNING", step("l", "running", loop=loop(200))))
    assert said == ["● l  running  200/1000 items  4 running"]


def test_plain_lines_where_the_output_is_no_terminal() -> None:
    output = io.StringIO()
    snapshots = [
        Snapshot(document("RUNNING", step("a", "running"))),
        Snapshot(document("RUNNING", step("a", "running")), silent=1.0),
        Snapshot(document("COMPLETED", step("a", "done", duration=0.5))),
    ]
    last = live.show(iter(snapshots), output)
    assert last.status == "COMPLETED"
    assert output.getvalue().splitlines() == [
        "● a  running",
        "the server does not answer, trying again",
        "the server answers again",
        "✓ a  done  0.50 s",
        "examples/demo  COMPLETED  2.50 s",
    ]


def test_the_tree_has_every_step_with_its_facts() -> None:
    from rich.console import Console

    loop = {"total": 4, "done": 2, "failed": 1, "running": 1, "cancelled": 0, "waiting": 0}
    snapshot = Snapshot(
        document(
            "FAILED",
            step("read", "done", duration=0.5),
            step("each", "running", loop=loop),
            step("write", "failed", duration=0.1, error={"type": "sql", "message": "no such table", "hint": "create it first"}),
        )
    )
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(live.tree(snapshot, 0.0))
    text = captured.get()
    assert "examples/demo  7  FAILED  2.50 s" in text
    assert "✓ read   0.50 s" in text
    assert "2/4 items  1 failed  1 running" in text
    assert "sql: no such table" in text
    assert "create it first" in text


def test_an_error_says_its_type_once() -> None:
    assert live.error_text({"type": "TypeError", "message": "TypeError: no"}) == "TypeError: no"
    assert live.error_text({"type": "fail", "message": "too few"}) == "fail: too few"
    assert live.error_text({"type": "fail"}) == "{'type': 'fail'}"


def test_what_to_do_is_below_what_happened() -> None:
    error = {"type": "fail", "message": "too few", "step": "count"}
    assert live.told(error) == "step count: fail: too few"
    assert live.told({**error, "hint": "send more\nor none"}) == "step count: fail: too few\n  send more\n  or none"
    assert live.told("broken") == "broken"
