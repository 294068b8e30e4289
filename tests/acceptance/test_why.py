"""What an operator is told about an execution that does not move, and what to type next."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from breakable import Pretender
from live import Live
from stories import HEAD, append, python

from noetl import home as files
from noetl.ops import nats, reasons

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
PARENT = HEAD.format(name="why_parent") + "  - {step: start, tool: {kind: playbook, path: tests/why_child}}\n"
DELAYED = """\
def main():
    raise ValueError("the far end is away")
"""
RETRY = {"case": [{"when": "{{ event.name == 'call.error' }}", "then": [{"retry": {"max_attempts": 2, "initial_delay": 60}}]}]}
TWO = """\
  - {step: start, next: [bad, good]}
  - {step: bad, tool: {kind: python, code: "result = 1"}}
  - {step: good, tool: {kind: python, code: "result = 1"}}
"""
LOOP_OF_SIX = """\
  - {step: start, loop: {in: "{{ range(6) | list }}", iterator: n, mode: parallel}, tool: {kind: python, code: "result = 1"}}
"""
CHUNKS = """\
  - step: start
    pool: nobody
    loop: {in: "{{ range(1500) | list }}", iterator: n, mode: parallel}
    tool: {kind: python, code: "result = 1"}
"""
BOUNDED = """\
  - {step: start, next: never}
  - {step: never, when: "{{ workload.pause > 5 }}", tool: {kind: python, code: "result = 1"}, next: each}
  - {step: each, loop: {in: "{{ range(30) | list }}", iterator: n, mode: parallel, limit: 7}, tool: {kind: python, code: "result = 1"}}
"""


@pytest.fixture
def own(make_live: MakeLive) -> Iterator[Live]:
    """A server without workers: tests start them."""
    with make_live({"NOETL_LEASE_SECONDS": "2"}) as one:
        one.server()
        yield one


def why(live: Live, execution: str) -> dict[str, Json]:
    """Ask; whatever is answered fits a screen of 80 columns."""
    found: dict[str, Json] = live.api.get(f"/api/executions/{execution}/why")
    shown = reasons.text(found).splitlines()
    assert max(map(len, shown)) <= 80
    assert len(shown) <= 24
    return found


def first(live: Live, execution: str, state: str) -> dict[str, Json]:
    """Wait until the likeliest cause is in a state, and return it with the answer's verdict, commands to type and exit code."""

    def there() -> dict[str, Json] | None:
        found = why(live, execution)
        return found if found["reasons"][0]["state"] == state else None

    found = live.until(there, f"the first reason is {state}")
    return found["reasons"][0] | {"verdict": found["verdict"], "typed": found["type"], "exit": reasons.exit_code(found)}


@contextlib.contextmanager
def locked(live: Live, name: str) -> Iterator[None]:
    """Hold an advisory lock of the server's database."""
    with asyncio.Runner() as runner:
        where = live.postgres
        way = {"host": where.host, "port": where.port, "database": where.database, "user": where.user}
        held = runner.run(asyncpg.connect(**way, password=where.password.reveal()))
        runner.run(held.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", name))
        try:
            yield
        finally:
            runner.run(held.close())


def no_sweeps(live: Live) -> contextlib.AbstractContextManager[None]:
    """Let no server sweep: what a sweep would end soon stays as it is."""
    return locked(live, "noetl.sweep")


@contextlib.contextmanager
def held_back(live: Live) -> Iterator[None]:
    """Hold back what executions were to be woken for."""
    wait = "BEGIN PERFORM pg_advisory_xact_lock(hashtextextended('noetl.test', 0)); RETURN NEW; END"
    live.sql(f"CREATE FUNCTION noetl.hold_back() RETURNS trigger LANGUAGE plpgsql AS $$ {wait} $$")
    when = "WHEN (OLD.due_at IS NOT NULL AND OLD.status = 'RUNNING')"
    with locked(live, "noetl.test"):
        live.sql(f"CREATE TRIGGER hold_back BEFORE UPDATE ON noetl.execution FOR EACH ROW {when} EXECUTE FUNCTION noetl.hold_back()")
        yield
    live.sql("DROP TRIGGER hold_back ON noetl.execution")


def test_from_no_worker_to_the_end(own: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    own.register(python("why_child", ("start", append(str(mark), "time.sleep(600)"))))
    execution = own.execute(PARENT)
    waits = own.until(lambda: (found := first(own, execution, "child")).get("why") and found, "the sub-playbook has begun")
    assert (waits["verdict"], waits["exit"], waits["step"]) == ("stuck", 3, "start")
    inner = waits["why"]["reasons"][0]
    assert inner["state"] == "no_worker"
    assert inner["text"] == "no worker of pool default is alive"
    assert waits["typed"] == ["noetl worker start", f"noetl execution cancel {execution}"]

    worker = own.worker("w", slots=1)
    own.until(mark.exists, "the child's step runs")
    runs = first(own, waits["child"], "running")
    assert (runs["verdict"], runs["exit"]) == ("moving", 0)
    assert runs["worker"].startswith("w:") and runs["host"] and runs["lease_until"] and runs["last_heartbeat"]

    behind = own.execute(python("behind", ("start", "result = 1")))
    busy = first(own, behind, "busy")
    assert (busy["verdict"], busy["used"], busy["slots"]) == ("moving", 1, 1)
    assert f"1 of 1 slots, by 1 × start of tests/why_child ({waits['child']})" in busy["text"]

    with no_sweeps(own):
        worker.kill()
        assert first(own, waits["child"], "lease_lost")["verdict"] == "moving"
    assert first(own, waits["child"], "no_worker")["verdict"] == "stuck"

    own.api.post(f"/api/executions/{execution}/pause", {"reason": "night"})
    paused = first(own, execution, "paused")
    assert (paused["verdict"], paused["text"]) == ("stuck", "it is paused: night")
    assert paused["typed"][0] == f"noetl execution resume {execution}"
    child = first(own, waits["child"], "paused")
    assert child["text"] == f"it is paused because its parent {execution} is"
    own.api.post(f"/api/executions/{execution}/cancel", {})
    own.finish(execution)
    ended = first(own, execution, "over")
    assert (ended["verdict"], ended["exit"]) == ("over", 1)


def test_what_waits_while_paused_is_not_about_to_be_taken(own: Live) -> None:
    own.worker()
    execution = own.execute(python("waits_paused", ("start", "import time\ntime.sleep(2)\nresult = 1"), ("after", "result = 2")))
    own.api.post(f"/api/executions/{execution}/pause", {})
    waits = own.until(lambda: [one for one in why(own, execution)["reasons"] if one["state"] == "queued"], "a step waits")
    assert (waits[0]["text"], waits[0]["moves"]) == ("waits until the execution goes on", False)
    own.api.post(f"/api/executions/{execution}/resume", {})
    assert own.finish(execution)["status"] == "COMPLETED"


def test_delays_failures_and_loops(own: Live) -> None:
    own.worker()
    execution = own.execute(python("delayed", ("start", DELAYED, RETRY)))
    delayed = first(own, execution, "delayed")
    assert delayed["verdict"] == "moving" and delayed["until"]
    assert "attempt 2 waits for its time after: " in delayed["text"] and "the far end is away" in delayed["text"]

    failed = own.execute(python("fails", ("start", "result = 1"), ("bad", DELAYED)))
    assert own.finish(failed)["status"] == "FAILED"
    reason = first(own, failed, "failed")
    assert (reason["step"], reason["attempts"], reason["exit"]) == ("bad", 1, 1)
    assert "the far end is away" in reason["text"]
    assert reason["typed"][-1] == f"noetl execution retry {failed}"

    done = own.execute(python("fine", ("start", "result = 1")))
    own.finish(done)
    assert first(own, done, "over")["exit"] == 0

    looping = own.execute(
        HEAD.format(name="looping")
        + """\
  - step: start
    loop: {in: "{{ range(30) | list }}", iterator: n, mode: parallel}
    tool: {kind: python, code: "def main(): import time; time.sleep(1)"}
"""
    )
    own.until(lambda: why(own, looping)["reasons"][-1]["state"] == "loop", "the loop is told of")
    loop = why(own, looping)["reasons"][-1]
    assert loop["counts"]["total"] == 30
    assert "of 30 done" in loop["text"]


def test_what_ended_an_execution_is_told_first_and_what_was_handled_not_at_all(own: Live) -> None:
    own.worker()
    step = {"step": "start", "tool": {"kind": "python", "code": "def main():\n    raise ValueError('handled')"}}
    step["case"] = [{"when": "{{ event.name == 'call.error' }}", "then": {"next": "spoiled"}}]
    spoiled = {"step": "spoiled", "tool": {"kind": "python", "code": "result = 1"}}
    spoiled["case"] = [{"when": "{{ event.name == 'call.done' }}", "then": {"set": {"v": "{{ 1 / 0 }}"}}}]
    rescue = {"step": "rescue", "tool": {"kind": "python", "code": "def main():\n    raise ValueError('rescue')"}}
    text = HEAD.format(name="why_spoiled") + "".join(f"  - {json.dumps(one)}\n" for one in (step, spoiled, rescue))
    execution = own.execute(text + "on_failure: rescue\n")
    own.finish(execution)
    told = [(reason["step"], reason["text"].partition(":")[0]) for reason in why(own, execution)["reasons"]]
    assert told == [("spoiled", "`set` of v"), ("rescue", "ValueError")]

    own.register(python("why_child", ("start", "raise ValueError('inner')")))
    parent = own.execute(PARENT)
    own.finish(parent)
    found = why(own, parent)
    child = found["reasons"][0]["child"]
    assert [(reason["step"], reason["text"].partition(" (")[0]) for reason in found["reasons"]] == [("start", "ValueError: inner")]
    assert found["type"][0] == f"noetl execution why {child}"
    assert own.status(child)["path"] == "tests/why_child"


def test_a_command_that_a_free_worker_does_not_take(own: Live) -> None:
    with no_sweeps(own):
        worker = Pretender(own)
        execution = own.execute(python("left", ("start", "result = 1")))
        queued = first(own, execution, "queued")
        assert (queued["verdict"], queued["workers"], queued["slots"], queued["used"]) == ("moving", ["pretender"], 4, 0)
        assert queued["text"] == "workers of pool default have 4 free slots and are about to take it"

        later = "UPDATE noetl.command SET created_at = created_at - interval '1 hour', available_at = available_at - interval '1 hour'"
        own.sql(f"{later} WHERE execution_id = $1", int(execution))
        left = first(own, execution, "not_taken")
        assert (left["verdict"], left["exit"]) == ("stuck", 3)
        assert left["text"] == "workers of pool default have 4 free slots and do not take it"
        assert left["typed"] == ["noetl worker list", "noetl worker restart --name pretender", f"noetl execution cancel {execution}"]

        worker.beat(draining=True)
        nobody = first(own, execution, "no_worker")
        assert nobody["text"].startswith("no worker of pool default is alive; one drains; the last one was heard of ")
        assert nobody["typed"][0] == "noetl worker start"


def test_what_a_worker_has_taken_ahead_is_in_no_slot(own: Live) -> None:
    worker = Pretender(own)
    execution = own.execute(HEAD.format(name="ahead") + LOOP_OF_SIX)
    for _ in range(5):
        worker.claim(execution)
    busy = own.until(lambda: [one for one in why(own, execution)["reasons"] if one["state"] == "busy"], "it is told who is busy")[0]
    by = f"by 5 × start of tests/ahead ({execution})"
    assert busy["text"] == f"the workers of pool default are busy: 4 of 4 slots and 1 more taken ahead, {by}"
    own.api.post(f"/api/executions/{execution}/cancel", {})


def test_what_is_due_after_a_failure_and_between_the_chunks_of_a_loop(own: Live) -> None:
    with no_sweeps(own):
        worker = Pretender(own)
        execution = own.execute(HEAD.format(name="due") + TWO)
        claimed = {command["step"]: command for command in (worker.claim(execution), worker.claim(execution))}
        worker.report(claimed["bad"], None, free=0, status="failed", error={"message": "no", "type": "Told"})
        due = own.until(
            lambda: [one for one in why(own, execution)["reasons"] if one["state"] == "timer"], "the bound of a failure is told"
        )
        assert due[0]["text"] == "the end of the time that what is in flight has after a failure"
        found = why(own, execution)
        assert (found["verdict"], found["last_error"]["step"]) == ("moving", "bad")
        assert [one["step"] for one in found["reasons"] if one["state"] == "running"] == ["good"]

    with held_back(own):
        looping = own.execute(HEAD.format(name="chunks") + CHUNKS)
        due = own.until(lambda: [one for one in why(own, looping)["reasons"] if one["state"] == "timer"], "the next chunk is told of")
        assert due[0]["text"] == "the next chunk of a loop, or its end"
        loop = next(one for one in why(own, looping)["reasons"] if one["state"] == "loop")
        assert (loop["counts"]["issued"], loop["counts"]["total"]) == (1000, 1500)
    issued = "SELECT issued FROM noetl.loop WHERE execution_id = $1"
    own.until(lambda: own.sql(issued, int(looping))[0]["issued"] == 1500, "the loop has gone on")
    own.until(lambda: "timer" not in {one["state"] for one in why(own, looping)["reasons"]}, "nothing is due any more")


def test_the_limit_of_a_loop_and_the_steps_that_were_skipped(own: Live) -> None:
    execution = own.execute(HEAD.format(name="bounded") + BOUNDED)
    found = own.until(lambda: {one["state"]: one for one in why(own, execution)["reasons"]}, "it is explained")
    assert found["no_worker"]["step"] == "each" and found["no_worker"]["commands"] == 7
    assert found["loop"]["text"] == "items: 0 of 30 done, 0 failed, 30 to come; at most 7 at once"
    assert found["skipped"]["step"] == "never" and found["skipped"]["when"] == "{{ workload.pause > 5 }}"
    assert found["skipped"]["text"] == "was skipped: its `when` was not true"
    own.worker("w")
    assert own.finish(execution)["status"] == "COMPLETED"
    ended = why(own, execution)
    assert [one["state"] for one in ended["reasons"]] == ["over", "skipped"]
    assert "never: was skipped: its `when` was not true" in reasons.text(ended)


def test_nats_is_away_and_an_execution_was_changed_from_outside(make_live: MakeLive, tmp_path: Path) -> None:
    with make_live() as one:
        one.nats_url = nats.start(tmp_path, files.Embedded())
        try:
            one.server()
            execution = one.execute(python("unheard", ("start", "result = 1")))
            assert "nats" not in {reason["state"] for reason in why(one, execution)["reasons"]}
        finally:
            record = nats.find(tmp_path)
            assert record is not None
            psutil.Process(record.pid).kill()
        away = one.until(lambda: [told for told in why(one, execution)["reasons"] if told["state"] == "nats"], "NATS is missed")
        assert away[0]["text"] == "NATS does not answer: workers ask the server instead, a little later"
        assert why(one, execution)["verdict"] == "stuck"
        one.worker("w")
        assert one.finish(execution)["status"] == "COMPLETED"

        changed = one.execute(HEAD.format(name="changed") + "  - {step: start, pool: nobody, tool: {kind: python, code: result = 1}}\n")
        one.sql("UPDATE noetl.command SET status = 'cancelled' WHERE execution_id = $1", int(changed))
        nothing = first(one, changed, "nothing")
        assert (nothing["verdict"], nothing["exit"]) == ("stuck", 3)
        assert nothing["text"] == "no command of it waits or runs, and nothing of it is due: it was changed from outside"
        for typed in nothing["typed"]:
            operator = [sys.executable, "-m", "noetl.cli", *typed.split()[1:]]
            done = subprocess.run(operator, env=one.environ({"NOETL_SERVER_URL": one.a_server.url}), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        again = one.api.get(f"/api/executions/{changed}")["continued_by"]
        assert first(one, again, "no_worker")["pool"] == "nobody"
