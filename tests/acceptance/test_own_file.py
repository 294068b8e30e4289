"""The DuckDB file that an execution's steps share: it travels between workers, one step at a time works on it, nothing of it is lost."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live import Live

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]


@pytest.fixture(scope="module")
def platform(make_live: MakeLive) -> Iterator[Live]:
    with make_live({"NOETL_LEASE_SECONDS": "2", "NOETL_MAX_RESULT": str(4 * 1024**2)}) as one:
        one.server()
        one.worker("left-1", pool="left")
        one.worker("right-1", pool="right")
        yield one


def playbook(name: str, workflow: list[Json], **more: Json) -> str:
    return json.dumps({"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": name}, "workflow": workflow, **more})


def sql(name: str, text: str, pool: str, following: str | None = None, **more: Json) -> Json:
    tool = {"kind": "duckdb", "query": text, **more.pop("tool", {})}
    return {"step": name, "pool": pool, "tool": tool, **({"next": following} if following else {}), **more}


def workers_of(platform: Live, execution_id: str) -> dict[str, str]:
    rows = platform.sql("SELECT c.step, w.name FROM command c JOIN worker w USING (worker_id) WHERE execution_id = $1", int(execution_id))
    return {row["step"]: row["name"] for row in rows}


def test_a_table_that_one_worker_writes_another_reads(platform: Live) -> None:
    steps = [
        sql("start", "CREATE TABLE t AS SELECT 1 AS a", "left", "more"),
        sql("more", "INSERT INTO t VALUES (2)", "right", "back"),
        sql("back", "INSERT INTO t VALUES (3)", "left", "there"),
        sql("there", "SELECT a FROM t ORDER BY a", "right", "copy"),
        {
            "step": "copy",
            "pool": "left",
            "tool": {
                "kind": "transfer",
                "source": {"kind": "duckdb", "query": "SELECT a FROM t"},
                "target": {"kind": "postgres", "table": "own_file_rows", "mode": "append"},
            },
        },
    ]
    from_sql = {"kind": "postgres", "query": "CREATE TABLE IF NOT EXISTS own_file_rows (a integer)"}
    steps = [{"step": "start", "pool": "right", "tool": from_sql, "next": "first"}, {**steps[0], "step": "first"}, *steps[1:]]
    finished = platform.run(playbook("travels", steps))
    assert finished["status"] == "COMPLETED", finished["error"]
    assert platform.result(finished["execution_id"], "there") == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert platform.result(finished["execution_id"], "copy")["rows_transferred"] == 3
    where = workers_of(platform, finished["execution_id"])
    assert (where["more"], where["back"], where["there"]) == ("right-1", "left-1", "right-1")
    query = "SELECT c.step FROM file f JOIN command c USING (execution_id, command_id) WHERE execution_id = $1 ORDER BY command_id"
    versions = [row["step"] for row in platform.sql(query, int(finished["execution_id"]))]
    assert versions == ["more", "back"], "what was followed is gone, what a step only reads is not stored again"


def test_a_sink_writes_to_the_file_and_a_step_that_fails_leaves_it_as_it_was(platform: Live) -> None:
    write = {"sink": {"tool": {"kind": "duckdb", "statement": "CREATE TABLE kept AS SELECT 7 AS a"}}}
    first = {"step": "start", "pool": "right", "tool": {"kind": "python", "code": "result = 1"}, "next": "bad"}
    spoils = sql("bad", "CREATE TABLE spoiled (a INT); CHECKPOINT; SELECT no_such_column", "left")
    steps = [
        {**first, "case": [{"when": "{{ event.name == 'call.done' }}", "then": write}]},
        {**spoils, "case": [{"when": "{{ event.name == 'call.error' }}", "then": {"next": "look"}}]},
        sql("look", "SELECT table_name FROM information_schema.tables", "left"),
    ]
    finished = platform.run(playbook("sinks_and_failures", steps))
    assert finished["status"] == "COMPLETED", finished["error"]
    assert platform.result(finished["execution_id"], "look") == [{"table_name": "kept"}]


def test_a_first_step_that_fails_leaves_no_file(platform: Live) -> None:
    spoils = sql("start", "CREATE TABLE spoiled (a INT); CHECKPOINT; SELECT no_such_column", "left")
    steps = [
        {**spoils, "case": [{"when": "{{ event.name == 'call.error' }}", "then": {"next": "look"}}]},
        sql("look", "SELECT count(*)::INT AS n FROM information_schema.tables", "left"),
    ]
    finished = platform.run(playbook("first_fails", steps))
    assert platform.result(finished["execution_id"], "look") == [{"n": 0}], finished["error"]


def test_the_items_of_a_parallel_loop_take_turns_and_lose_nothing(platform: Live) -> None:
    """With items of two loops in two pools: those of one execution one after the other, wherever they run."""
    rows = {"in": "{{ range(12) | list }}", "iterator": "n", "mode": "parallel"}
    steps = [
        sql("start", "CREATE TABLE t (a INT)", "left", "left"),
        {**sql("left", "INSERT INTO t VALUES ({{ n }})", "left"), "loop": rows, "next": "end"},
        {**sql("right", "INSERT INTO t VALUES ({{ 100 + n }})", "right"), "loop": rows, "next": "end"},
        sql("end", "SELECT count(*)::INT AS n, sum(a)::INT AS s FROM t", "left"),
    ]
    steps[0]["next"] = ["left", "right"]
    finished = platform.run(playbook("turns", steps))
    assert finished["status"] == "COMPLETED", finished["error"]
    assert platform.result(finished["execution_id"], "end") == [{"n": 24, "s": 2 * 66 + 1200}]
    overlapping = platform.sql(
        """SELECT a.command_id, b.command_id AS other FROM command a JOIN command b USING (execution_id)
           WHERE execution_id = $1 AND a.command_id < b.command_id AND a.finished_at > b.claimed_at""",
        int(finished["execution_id"]),
    )
    assert overlapping == []


def test_a_worker_that_is_killed_in_the_middle_loses_nothing_of_the_file(platform: Live) -> None:
    slow = "INSERT INTO t SELECT count(*)::INT FROM range(20000000) a, range(6) b WHERE a.range % 3 = b.range"
    steps = [
        sql("start", "CREATE TABLE t AS SELECT 1 AS a", "killed", "slow"),
        sql("slow", f"INSERT INTO t VALUES (2); {slow}", "killed", "end"),
        sql("end", "SELECT a FROM t ORDER BY a", "right"),
    ]
    victim = platform.worker("killed-1", pool="killed")
    execution_id = platform.execute(playbook("killed", steps))
    running = "SELECT 1 FROM command WHERE execution_id = $1 AND step = 'slow' AND status = 'running'"
    platform.until(lambda: platform.sql(running, int(execution_id)), "the slow step runs")
    victim.kill()
    platform.worker("killed-2", pool="killed")
    finished = platform.finish(execution_id, 60)
    assert finished["status"] == "COMPLETED", finished["error"]
    assert [row["a"] for row in platform.result(execution_id, "end")][:2] == [1, 2]
    assert len(platform.result(execution_id, "end")) == 3


def test_a_file_that_is_too_large_to_travel_names_what_to_write(platform: Live) -> None:
    steps = [sql("start", "CREATE TABLE t AS SELECT md5(i::VARCHAR) AS a FROM range(400000) t(i)", "left")]
    finished = platform.run(playbook("too_large", steps))
    assert finished["status"] == "FAILED"
    assert finished["error"]["type"] == "too_large"
    assert "`database: PATH`" in finished["error"]["hint"]


def test_a_database_that_renders_to_nothing_is_refused(platform: Live) -> None:
    steps = [sql("start", "SELECT 1", "left", tool={"database": "{{ workload.where }}"})]
    finished = platform.run(playbook("nowhere", steps, workload={"where": ""}))
    assert (finished["status"], finished["error"]["type"]) == ("FAILED", "config")
    assert "`database` renders to nothing" in finished["error"]["message"]


def test_an_execution_that_continues_another_has_its_file(platform: Live) -> None:
    steps = [
        sql("start", "CREATE TABLE t AS SELECT 5 AS a", "left", "check"),
        {"step": "check", "pool": "right", "tool": {"kind": "python", "code": "raise ValueError('no')"}, "next": "end"},
        sql("end", "SELECT a FROM t", "right"),
    ]
    text = playbook("continued", steps)
    failed = platform.run(text)
    assert failed["status"] == "FAILED"
    platform.register(text.replace("raise ValueError('no')", "result = 1"))
    again = platform.api.post(f"/api/executions/{failed['execution_id']}/retry", {"version": "latest"})["execution_id"]
    finished = platform.finish(again)
    assert finished["status"] == "COMPLETED", finished["error"]
    assert platform.result(again, "end") == [{"a": 5}]


def test_why_names_the_turn_that_a_command_waits_for(platform: Live) -> None:
    rows = {"in": [1, 2, 3], "iterator": "n", "mode": "parallel"}
    execution_id = platform.execute(playbook("waits", [{**sql("start", "SELECT {{ n }}", "nobody"), "loop": rows}]))
    found = platform.api.get(f"/api/executions/{execution_id}/why")
    reasons = {reason["state"]: reason for reason in found["reasons"]}
    assert (found["verdict"], reasons["no_worker"]["commands"], reasons["turn"]["commands"]) == ("stuck", 1, 2)
    assert "waits for its turn on the execution's DuckDB file" in reasons["turn"]["text"]
    platform.api.post(f"/api/executions/{execution_id}/cancel")


def test_only_a_live_lease_writes_a_version(platform: Live) -> None:
    execution_id = platform.execute(playbook("leases", [sql("start", "SELECT 1", "nobody")]))
    url = f"{platform.a_server.url}/api/worker/file/{execution_id}/1/1/0"
    headers = {"Authorization": f"Bearer {platform.token.reveal()}"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, zlib.compress(b"x"), headers, method="PUT"), timeout=10)
    with refused.value as answer:
        assert answer.code == 409
    assert platform.api.get(f"/api/worker/file/{execution_id}") == {"command": None, "fence": None, "size": None}
