"""Continuing what failed: a new execution keeps what is done and runs the rest, on real processes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from live import Live
from stories import HEAD

from noetl.errors import Conflict, NoetlError, NotFound
from noetl.ops import continuation

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
RAN = """\
def main(file, name, broken="", n=None, seen=None):
    import os
    open(file, "a").write(f"{name}{'' if n is None else n}\\n")
    if os.path.exists(broken) and n in (None, 1, 3):
        raise ValueError(f"{name} broke")
    return seen if seen is not None else (name if n is None else n * n)
"""


def step(name: str, *, broken: str = "", following: Json = None, loop: Json = None, seen: str | None = None, **more: Json) -> Json:
    """Return a step that leaves a line in the payload's file, and fails while the file `broken` is there."""
    args = {"file": "{{ workload.note }}", "name": name, "broken": broken}
    args |= {"n": "{{ n }}"} if loop else {}
    args |= {"seen": seen} if seen else {}
    document = {"step": name, "tool": {"kind": "python", "code": RAN, "args": args}, **more}
    document |= {"loop": loop} if loop else {}
    return document | ({"next": following} if following else {})


def text(name: str, *steps: Json) -> str:
    return HEAD.format(name=name) + "".join(f"  - {json.dumps(one)}\n" for one in steps)


@pytest.fixture(scope="module")
def own(make_live: MakeLive) -> Iterator[Live]:
    with make_live() as one:
        one.server()
        one.worker()
        yield one


def failed(live: Live, playbook: str, mark: Path) -> str:
    """Run a playbook that fails, and mend what breaks it."""
    (mark.parent / "broken").write_text("")
    execution = live.execute(playbook, {"note": str(mark)})
    assert live.finish(execution)["status"] == "FAILED"
    (mark.parent / "broken").unlink()
    return execution


def retried(live: Live, execution: str, **wanted: Json) -> dict[str, Json]:
    """Look first, then continue an execution; the plan is the same."""
    before = live.sql("SELECT count(*) AS n FROM noetl.execution")
    planned: dict[str, Json] = live.api.post(f"/api/executions/{execution}/retry", {**wanted, "dry_run": True})
    assert live.sql("SELECT count(*) AS n FROM noetl.execution") == before
    assert all(len(line) <= 80 for line in continuation.text(planned).splitlines())
    begun: dict[str, Json] = live.api.post(f"/api/executions/{execution}/retry", wanted)
    assert {name: begun[name] for name in ("again", "kept", "version")} == {name: planned[name] for name in ("again", "kept", "version")}
    return begun


def balanced(live: Live, execution: str) -> None:
    """Check the counts of each loop against its rows."""
    for row in live.sql("SELECT * FROM noetl.loop WHERE execution_id = $1", int(execution)):
        assert row["closed"]
        assert row["done"] + row["failed"] + row["cancelled"] == row["total"] == row["issued"] + row["cancelled"] * (row["issued"] == 0)


def test_what_is_done_is_kept_and_the_failed_step_goes_on(own: Live, tmp_path: Path) -> None:
    mark, broken = tmp_path / "mark", str(tmp_path / "broken")
    playbook = text(
        "retry_chain",
        step("start", following="large", vars={"kept": "{{ result }}"}),
        {
            "step": "large",
            "tool": {"kind": "python", "code": "result = 'x' * 3_000_000"},
            "next": {"step": "a", "args": {"seen": "handed over"}},
        },
        step("a", broken=broken, following="b"),
        step("b", seen="{{ start }} {{ a }} {{ vars.kept }}"),
    )
    execution = failed(own, playbook, mark)
    begun = retried(own, execution)
    assert [(one["step"], one["what"]) for one in begun["again"]] == [("a", "entered again")]
    assert [one["step"] for one in begun["kept"]] == ["start", "large"]
    ended = own.finish(begun["execution_id"])
    assert (ended["status"], ended["result"]) == ("COMPLETED", "start handed over start")
    assert mark.read_text().split() == ["start", "a", "a", "b"]
    assert (ended["continues"], own.status(execution)["continued_by"]) == (execution, begun["execution_id"])
    assert own.result(begun["execution_id"], "start") == "start"
    assert own.events(begun["execution_id"], "playbook.continued")[0]["context"]["detail"] == {"continues": execution, "again": ["a"]}

    # The earlier one may go; what continues it has its own copies.
    for table in ("chunk", "command", "history", "variable", "execution"):
        own.sql(f"DELETE FROM noetl.{table} WHERE execution_id = $1", int(execution))
    assert own.result(begun["execution_id"], "start") == "start"
    assert own.result(begun["execution_id"], "large") == "x" * 3_000_000


def test_the_failed_items_of_a_loop_are_run_and_the_done_ones_kept(own: Live, tmp_path: Path) -> None:
    for mode in ("parallel", "sequential"):
        mark, broken = tmp_path / f"mark-{mode}", str(tmp_path / "broken")
        loop = {"in": "{{ range(5) | list }}", "iterator": "n", "mode": mode}
        playbook = text(
            f"retry_{mode}", step("start", following="each"), step("each", broken=broken, loop=loop, following="end"),
            step("end", seen="{{ each.results }}"),
        )  # fmt: skip
        execution = failed(own, playbook, mark)
        before = mark.read_text().split()
        whole = own.api.post(f"/api/executions/{execution}/retry", {"dry_run": True})
        assert "--failed-items keeps those" in continuation.text(whole)
        begun = retried(own, execution, failed_items=True)
        ended = own.finish(begun["execution_id"])
        assert (ended["status"], ended["result"]) == ("COMPLETED", [0, 1, 4, 9, 16])
        done = {int(row["item"]) for row in own.sql(
            "SELECT item FROM noetl.command WHERE execution_id = $1 AND step = 'each' AND status = 'done'", int(execution))}  # fmt: skip
        assert 0 in done
        assert sorted(mark.read_text().split()[len(before) :]) == sorted(["end", *(f"each{n}" for n in range(5) if n not in done)])
        balanced(own, begun["execution_id"])
        assert next(one for one in own.steps(begun["execution_id"]) if one["step"] == "each")["loop"]["done"] == 5


def test_a_retry_of_a_retry_and_branches_that_were_cut_off(own: Live, tmp_path: Path) -> None:
    mark, broken = tmp_path / "mark", str(tmp_path / "broken")
    slow = {"kind": "python", "code": "def main():\n    import time\n    time.sleep(1)\n    return 'slow'"}
    playbook = text(
        "retry_branches",
        step("start", following=["bad", "slow"]),
        step("bad", broken=broken, following="end"),
        {"step": "slow", "tool": slow, "next": {"step": "after", "args": {"seen": "{{ slow }}"}}},
        step("after", following="end"),
        step("end", seen="{{ after }}"),
    )
    (tmp_path / "broken").write_text("")
    first = own.execute(playbook, {"note": str(mark)})
    assert own.finish(first)["status"] == "FAILED"
    assert mark.read_text().split() == ["start", "bad"]
    second = retried(own, first)
    assert {(one["step"], one["what"]) for one in second["again"]} == {("bad", "entered again"), ("after", "entered")}
    assert own.finish(second["execution_id"])["status"] == "FAILED"
    (tmp_path / "broken").unlink()
    third = retried(own, second["execution_id"])
    ended = own.finish(third["execution_id"])
    assert (ended["status"], ended["result"]) == ("COMPLETED", "slow")
    assert mark.read_text().split().count("start") == 1
    assert mark.read_text().split().count("after") == 1
    assert mark.read_text().split().count("end") == 1


IN_FLIGHT = """\
  - {step: start, next: [bad, slow]}
  - step: bad
    tool:
      kind: python
      args: {file: "{{ workload.note }}"}
      code: |
        import os, time
        def main(file):
            while not os.path.exists(file) or open(file).read().count("began") < 2:
                time.sleep(0.01)
            raise ValueError("broken")
  - step: slow
    loop: {in: [1, 2], iterator: i, mode: parallel}
    tool:
      kind: python
      args: {file: "{{ workload.note }}"}
      code: |
        import time
        def main(file, i):
            open(file, "a").write(f"began{i}\\n")
            time.sleep(1)
            return i
    case:
      - when: "{{ event.name == 'call.done' }}"
        then:
          sink:
            tool: {kind: python, code: "def main(file, i): open(file, 'a').write(f'sunk{i} ')"}
            args: {file: "{{ workload.note }}", i: "{{ result }}"}
"""


def test_what_was_in_flight_as_it_failed_has_written_its_sinks(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    execution = failed(own, HEAD.format(name="retry_in_flight") + IN_FLIGHT, mark)
    assert sorted(mark.read_text().split()) == ["began1", "began2", "sunk1", "sunk2"]
    loop = next(one for one in own.steps(execution) if one["step"] == "slow")["loop"]
    assert (loop["done"], loop["failed"]) == (2, 0)


def test_from_a_step_of_what_has_completed(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    execution = own.execute(text("retry_from", step("start", following="a"), step("a", following="end"), step("end")), {"note": str(mark)})
    own.finish(execution)
    with pytest.raises(Conflict, match="has COMPLETED") as refused:
        retried(own, execution)
    assert refused.value.hint == f"name a step: noetl execution retry {execution} --from STEP"
    with pytest.raises(NotFound, match="has no step nowhere"):
        retried(own, execution, **{"from": "nowhere"})
    begun = retried(own, execution, **{"from": "a"})
    assert own.finish(begun["execution_id"])["status"] == "COMPLETED"
    assert mark.read_text().split() == ["start", "a", "end", "a", "end"]


def test_with_the_latest_version(own: Live, tmp_path: Path) -> None:
    mark, broken = tmp_path / "mark", str(tmp_path / "broken")
    execution = failed(own, text("retry_latest", step("start", following="a"), step("a", broken=broken)), mark)
    own.register(text("retry_latest", step("start", following="b"), step("b")))
    with pytest.raises(Conflict, match="version 2 of tests/retry_latest has no step a") as refused:
        retried(own, execution, version="latest")
    assert f"noetl execution retry {execution} --version same" in refused.value.hint
    own.register(text("retry_latest", step("start", following="a"), step("a", following="new"), step("new")))
    begun = retried(own, execution, version="latest")
    assert begun["version"] == 3
    assert own.finish(begun["execution_id"])["result"] == "new"


def test_inputs_output_and_on_failure_of_what_goes_on(own: Live, tmp_path: Path) -> None:
    mark, broken = tmp_path / "mark", str(tmp_path / "broken")
    head = {"input": {"note": "string"}, "output": {"a": "{{ a }}", "size": "{{ workload.size | default(0) }}"}, "on_failure": "rescue"}

    def version(**more: Json) -> str:
        steps = [step("start", following="a"), step("a", broken=broken), step("rescue", seen="{{ error.message }}"), step("end")]
        return json.dumps({**yaml.safe_load(text("retry_words", *steps)), **head, **more})

    execution = failed(own, version(), mark)
    assert mark.read_text().split() == ["start", "a", "rescue"]
    begun = retried(own, execution)
    ended = own.finish(begun["execution_id"])
    assert (ended["status"], ended["error"], ended["output"]) == ("COMPLETED", None, {"a": "a", "size": 0})
    assert mark.read_text().split() == ["start", "a", "rescue", "a", "end"]

    execution = failed(own, version(), mark)
    own.register(version(input={**head["input"], "size": {"type": "integer", "required": True}}))
    with pytest.raises(NoetlError, match="input `size` is missing"):
        own.api.post(f"/api/executions/{execution}/retry", {"version": "latest", "dry_run": True})
    own.register(version(input={**head["input"], "size": {"type": "integer", "default": "{{ 2 + 3 }}"}}))
    begun = retried(own, execution, version="latest")
    assert own.finish(begun["execution_id"])["output"] == {"a": "a", "size": 5}


def test_what_runs_is_not_continued_and_what_is_continued_not_twice(own: Live, tmp_path: Path) -> None:
    mark, broken = tmp_path / "mark", str(tmp_path / "broken")
    execution = failed(own, text("retry_twice", step("start", broken=broken, following="wait"),
                                 {"step": "wait", "tool": {"kind": "python", "code": "import time; time.sleep(30)"}}), mark)  # fmt: skip
    begun = retried(own, execution)["execution_id"]
    with pytest.raises(Conflict, match=f"already continued by {begun}"):
        own.api.post(f"/api/executions/{execution}/retry", {})
    with pytest.raises(Conflict, match="it goes on by itself"):
        own.api.post(f"/api/executions/{begun}/retry", {})
    own.until(lambda: own.status(begun)["current_step"] == "wait", "it waits")
    own.api.post(f"/api/executions/{begun}/cancel", {})
    own.finish(begun)
    again = own.api.post(f"/api/executions/{begun}/retry", {"dry_run": True})
    assert [one["step"] for one in again["again"]] == ["wait"]
