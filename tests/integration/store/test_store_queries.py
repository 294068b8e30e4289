"""The named statements: each is used, each name that is used exists, each is understood by the database, the hot ones use their indexes."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

import noetl
from noetl.settings import Postgres
from noetl.store import postgres as store

LEASE = timedelta(seconds=15)
PACKAGE = Path(noetl.__file__).parent
CALL = re.compile(r"(?:database|transaction|held)\s*\.\s*(?:rows|row|run)\(\s*\"(\w+)\"", re.DOTALL)


def called() -> set[str]:
    """Return the names with which the code asks for a statement."""
    return {name for file in PACKAGE.rglob("*.py") for name in CALL.findall(file.read_text())}


def test_every_statement_is_used_and_every_name_is_one() -> None:
    used_in_text = {name for file in PACKAGE.rglob("*.py") for name in store.queries() if f'"{name}"' in file.read_text()}
    assert called() - set(store.queries()) == set()
    assert set(store.queries()) - used_in_text == set()


def test_no_sql_stands_in_the_code_of_the_server() -> None:
    statement = re.compile(r"\"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM) ")
    found = [file.name for file in (PACKAGE / "server").rglob("*.py") if statement.search(file.read_text())]
    assert found == []


@pytest.mark.parametrize("name", store.queries())
async def test_a_statement_is_understood(postgres: Postgres, name: str) -> None:
    held = await connect(postgres)
    try:
        await held.prepare(store.queries()[name])
    finally:
        await held.close()


async def test_invariant_6_claims_and_sweeps_read_only_what_waits_or_runs(postgres: Postgres) -> None:
    """Invariant 6: among many finished commands, those that wait are found by the partial index."""
    held = await connect(postgres)
    try:
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            SELECT n, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now() FROM generate_series(1, 200) n;
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status)
            SELECT e, c, 1, 's', 'python', 'default', CASE WHEN c = 100 THEN 'waiting' WHEN c = 99 THEN 'running' ELSE 'done' END
            FROM generate_series(1, 200) e, generate_series(1, 100) c;
            ANALYZE execution; ANALYZE command;
            """
        )
        for name, index, arguments in [
            ("claim", "command_waiting", "'default', 'w', interval '15 s', 8"),
            ("sweep_unclaimed", "command_waiting", "interval '3 s'"),
            ("pool_waits", "command_waiting", "'default'"),
            ("sweep_leases", "command_running", "2"),
            ("heartbeat_unlisted", "command_running", "'w', '{}', '{}', '{}'"),
            ("engine_forgotten", "command_engine", ""),
            ("pauses_forgotten", "execution_listing", ""),
        ]:
            await held.execute(f"PREPARE {name} AS {store.queries()[name]}")
            execute = f"EXECUTE {name}({arguments})" if arguments else f"EXECUTE {name}"
            (plan,) = json.loads(await held.fetchval(f"EXPLAIN (FORMAT JSON) {execute}"))
            text = json.dumps(plan)
            assert index in text, f"{name}: {text}"
            assert not full_scans(plan["Plan"]), f"{name}: {text}"
    finally:
        await held.close()


async def test_invariant_6_listed_leases_are_found_by_their_keys(postgres: Postgres) -> None:
    """Invariant 6: even with plans that were made before the database knew anything of its tables."""
    held = await connect(postgres)
    try:
        for name, arguments in [
            ("heartbeat_extend", "'w', '{1}', '{1}', '{1}', interval '15 s'"),
            ("heartbeat_begun", "'w', '{1}', '{1}', '{1}'"),
            ("heartbeat_not_lost", "'{1}', '{1}', '{1}'"),
            ("hand_back", "'w', '{1}', '{1}', '{1}'"),
        ]:
            await held.execute(f"PREPARE {name} AS {store.queries()[name]}")
            await held.execute("SET plan_cache_mode = force_generic_plan")
            plan = await held.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}({arguments})")
            assert "command_pkey" in plan, f"{name}: {plan}"
            assert "command_running" not in plan and "command_step" not in plan, f"{name}: {plan}"
    finally:
        await held.close()


async def test_invariant_6_a_claim_finds_each_execution_by_its_key(postgres: Postgres) -> None:
    """Invariant 6: a claim reads as many executions as it leases commands, however many run; its plan was made when none was there."""
    held = await connect(postgres)
    try:
        claim = await held.prepare(store.queries()["claim"])
        for _ in range(6):
            assert await claim.fetch("default", "w", LEASE, 20) == []
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            SELECT n, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now() FROM generate_series(1, 1000) n;
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status)
            SELECT n, 1, 1, 's', 'python', 'default', 'waiting' FROM generate_series(1, 1000) n;
            """
        )
        before = await read(held, "execution")
        assert len(await claim.fetch("default", "w", LEASE, 20)) == 20
        assert await read(held, "execution") - before <= 40
    finally:
        await held.close()


async def test_a_sweep_reads_no_commands_where_nothing_is_to_be_done(postgres: Postgres) -> None:
    """However many there are: its plans were made when there were none."""
    held = await connect(postgres)
    try:
        arguments = {"sweep_leases": (2,), "sweep_unclaimed": (LEASE,), "engine_forgotten": (), "pauses_forgotten": ()}
        arguments |= dict.fromkeys(("sweep_files", "sweep_files_settled", "sweep_files_old"), (LEASE,))
        sweeps = {name: await held.prepare(store.queries()[name]) for name in arguments}
        for _ in range(6):
            for name, sweep in sweeps.items():
                await sweep.fetch(*arguments[name])
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time, end_time)
            SELECT n, 1, 'p', 1, 'COMPLETED', '{}', '{}', '{}', now(), now() FROM generate_series(1, 10) n;
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status)
            SELECT e, c, 1, 's', 'python', 'default', 'done' FROM generate_series(1, 10) e, generate_series(1, 100) c;
            """
        )
        for name, sweep in sweeps.items():
            before = await read(held)
            await sweep.fetch(*arguments[name])
            assert await read(held) == before, name
    finally:
        await held.close()


async def test_a_transition_finds_its_rows_by_their_keys_whatever_its_plans_were_made_from(postgres: Postgres) -> None:
    """Invariant 6: its plans are made once, on empty tables here, and serve when many commands of others wait and run."""
    held = await connect(postgres)
    try:
        transition = await held.prepare(store.queries()["apply"])
        step = await held.prepare(store.queries()["apply_step"])
        await held.execute(f"SET plan_cache_mode = {store.KEPT_SETTINGS['plan_cache_mode']}")

        async def apply(*, ended: list[object] | None = None, revoked: object = (), withdrawn: object = (), stopped: object = ()) -> int:
            nothing: list[object] = []
            given = (nothing, nothing, ended or nothing, *[nothing] * 7, list(revoked), list(withdrawn), list(stopped), LEASE)  # type: ignore[call-overload]
            return len(await transition.fetch(*given))

        moved = (11, 0, "RUNNING", "{}", None, None, await held.fetchval("SELECT now()"))
        quickly = step_of(moved, (11, 2, 1, "done", "null", None, 1, None), (None,) * 12, (11, 1, 1, "[]"))
        await apply(revoked=[1], withdrawn=[1], stopped=[(1, 1)])
        with pytest.raises(asyncpg.SerializationError):
            await step.fetch(*quickly)
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            SELECT n, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now() FROM generate_series(1, 200) n;
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, worker_id, fence)
            SELECT e, c, 1 + c % 2, 's', 'python', 'default', CASE WHEN c % 4 < 2 THEN 'waiting' ELSE 'running' END, 'w', 1
            FROM generate_series(1, 200) e, generate_series(1, 100) c;
            """
        )
        before = await read(held)
        assert await apply(withdrawn=[7]) == 50
        await apply(stopped=[(8, 1)])
        await apply(revoked=[9])
        await apply(ended=[(10, 2, 1, "done", "null", None, 1, None)])
        await step.fetch(*quickly)
        statuses = "SELECT status, count(*) FROM command WHERE execution_id = $1 GROUP BY 1 ORDER BY 1"
        found = {eid: [tuple(row) for row in await held.fetch(statuses, eid)] for eid in (7, 8, 9, 10, 11)}
        assert found == {
            7: [("cancelled", 50), ("running", 50)],
            8: [("cancelled", 50), ("running", 25), ("waiting", 25)],
            9: [("cancelled", 100)],
            10: [("done", 1), ("running", 49), ("waiting", 50)],
            11: [("done", 1), ("running", 49), ("waiting", 50)],
        }
        assert await read(held) - before < 2000
    finally:
        await held.close()


async def test_a_prune_takes_what_one_function_says_and_finds_it_by_indexes(postgres: Postgres) -> None:
    """However many are newer, or begin later of those that are old enough, and whether its plans know what it is asked for."""
    held = await connect(postgres)
    try:
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time, end_time,
                                   parent_execution_id)
            SELECT n, 1, 'p', 1, CASE WHEN n IN (3, 6) THEN 'RUNNING' WHEN n % 2 = 0 THEN 'FAILED' ELSE 'COMPLETED' END, '{}', '{}', '{}',
                   now(), CASE WHEN n NOT IN (3, 6) THEN now() - interval '1 d' END, CASE n WHEN 4 THEN 3 WHEN 6 THEN 5 WHEN 8 THEN 7 END
            FROM generate_series(1, 2000) n;
            ANALYZE execution;
            """
        )
        names = ("prune_count", "prune_batch")
        count, batch = [await held.prepare(store.queries()[name]) for name in names]
        now = await held.fetchval("SELECT now()")
        for plans in ("force_custom_plan", "force_generic_plan"):
            await held.execute(f"SET plan_cache_mode = {plans}")
            before = await read(held, "execution")
            rows = await count.fetch(11, now, None, None)
            assert [(row["status"], row["count"]) for row in rows] == [("COMPLETED", 3), ("FAILED", 3)]
            assert await read(held, "execution") - before < 40, plans
            for status, path, expected in ((None, None, [1, 2, 7, 8, 9]), ("FAILED", None, [2, 8, 10, 12, 14]), (None, "q", [])):
                before = await read(held, "execution")
                assert [row["execution_id"] for row in await batch.fetch(2001 if expected else 11, now, status, path, 5)] == expected
                assert await read(held, "execution") - before < 60, (plans, status, path)
        said = {row["execution_id"] for row in await held.fetch("SELECT execution_id FROM prunable(11, now(), NULL, NULL)")}
        assert said == {1, 2, 7, 8, 9, 10}
        assert not [name for name in names if "end_time IS NULL" in store.queries()[name]], "what is taken is said once"
    finally:
        await held.close()


async def read(held: asyncpg.Connection, table: str = "command") -> int:
    """Return how many rows of a table were read so far, in whatever way."""
    await held.execute("SELECT pg_stat_force_next_flush()")
    await held.fetchval("SELECT 1")
    scans = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = $1"
    rows = await held.fetchval(scans, table) + await held.fetchval("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = $1", table)
    return int(rows)


def full_scans(plan: dict[str, object]) -> list[object]:
    """Return where a plan reads all commands."""
    here = [plan] if plan["Node Type"] == "Seq Scan" and plan.get("Relation Name") == "command" else []
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    return [*here, *(found for one in below for found in full_scans(one))]


async def test_two_claims_share_nothing(postgres: Postgres) -> None:
    first, second = await connect(postgres), await connect(postgres)
    try:
        await first.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            VALUES (1, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now()),
                   (2, 1, 'p', 1, 'PAUSED', '{}', '{}', '{}', now());
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status)
            SELECT e, c, 1, 's', 'python', 'default', 'waiting' FROM generate_series(1, 2) e, generate_series(1, 100) c;
            """
        )
        lease = asyncio.gather(*(held.fetch(store.queries()["claim"], "default", "w", LEASE, 70) for held in (first, second)))
        taken = [{row["command_id"] for row in rows} for rows in await lease]
        assert taken[0] & taken[1] == set()
        assert len(taken[0] | taken[1]) == 100
        assert await first.fetchval("SELECT count(*) FROM command WHERE execution_id = 2 AND status <> 'waiting'") == 0
    finally:
        await first.close()
        await second.close()


def step_of(moved: tuple[object, ...], ended: tuple[object, ...], issued: tuple[object, ...], happened: tuple[object, ...]) -> list[object]:
    """Return what `apply_step` is given for these rows of `apply`, all of one execution."""
    return [*moved, *ended[1:], *issued[1:], *happened[1:], LEASE]


@pytest.mark.parametrize("query", ["apply", "apply_step"])
async def test_invariant_1_a_stale_writer_is_turned_away(postgres: Postgres, query: str) -> None:
    """Invariants 1 and 3: one that has an older revision or fence writes nothing."""
    held = await connect(postgres)
    try:
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, revision, state, payload, workload, start_time)
            VALUES (1, 1, 'p', 1, 'RUNNING', 5, '{}', '{}', '{}', now());
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, fence)
            VALUES (1, 1, 1, 's', 'python', 'default', 'running', 2);
            """
        )
        now = await held.fetchval("SELECT now()")

        async def apply(revision: int, fence: int) -> None:
            moved = (1, revision, "RUNNING", "{}", None, None, now)
            ended = (1, 1, fence, "done", "1", None, 1, now)
            happened = (1, revision, revision, '[["call.done", "s", 1, null, 1, null, null, null, 0]]')
            if query == "apply_step":
                await held.fetch(store.queries()[query], *step_of(moved, ended, (None,) * 12, happened))
            else:
                await held.fetch(store.queries()[query], [], [moved], [ended], [], [happened], [], [], [], [], [], [], [], [], LEASE)

        before = await held.fetch("SELECT revision FROM execution UNION ALL SELECT fence FROM command UNION ALL SELECT seq FROM event")
        with pytest.raises(asyncpg.SerializationError):
            await apply(4, 2)
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await apply(5, 1)
        assert before == await held.fetch(
            "SELECT revision FROM execution UNION ALL SELECT fence FROM command UNION ALL SELECT seq FROM event"
        )
        await apply(5, 2)
        assert await held.fetchval("SELECT status FROM command") == "done"
        # What has ended stays as it is.
        await held.execute("UPDATE execution SET status = 'COMPLETED', end_time = now()")
        with pytest.raises(asyncpg.SerializationError):
            await apply(6, 2)
    finally:
        await held.close()


@pytest.mark.parametrize("worker", ["w", None])
@pytest.mark.parametrize("last", [False, True])
async def test_the_quick_way_of_one_step_writes_what_the_general_one_does(postgres: Postgres, worker: str | None, last: bool) -> None:
    """Decision 23: `apply_step` and `apply` leave the same rows, whatever the step's end and whatever follows from it."""
    held = await connect(postgres)
    try:
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, revision, state, payload, workload, start_time)
            SELECT n, 1, 'p', 1, 'RUNNING', 5, '{}', '{}', '{}', now() FROM generate_series(1, 2) n;
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, fence, worker_id, lease_until)
            SELECT n, 1, 1, 's', 'python', 'default', 'running', 2, 'w', now() FROM generate_series(1, 2) n;
            """
        )
        now = await held.fetchval("SELECT now()")

        def rows(eid: int) -> tuple[tuple[object, ...], ...]:
            status, error = ("FAILED", '{"message": "no"}') if last else ("RUNNING", None)
            moved = (eid, 5, status, '{"a": 1}', error, None if last else now, now)
            ended = (eid, 1, 2, "failed" if last else "done", None if last else "[1]", error, 3, None if last else now)
            later = now + LEASE if worker is None else None
            issued = (eid, 2, 2, "t", 7, "shell", "own", '{"args": {}}', worker, 4, later, worker is None)
            return moved, ended, (None,) * 12 if last else issued, (eid, 9, 10, '[["call.done"], ["step.exit"]]')

        async with held.transaction():
            # One transaction, so that its time is the same for both.
            moved, ended, issued, happened = rows(1)
            nothing: list[object] = []
            given = [None, [moved], [ended], None if last else [issued], [happened], *[None] * 5, nothing, nothing, nothing, LEASE]
            await held.fetch(store.queries()["apply"], *given)
            await held.fetch(store.queries()["apply_step"], *step_of(*rows(2)))
        for table, key in (("execution", "execution_id"), ("command", "command_id"), ("history", "seq")):
            found = {eid: await held.fetch(f"SELECT * FROM {table} WHERE execution_id = $1 ORDER BY {key}", eid) for eid in (1, 2)}
            slow, quick = ([{**dict(row), "execution_id": 0, "start_time": 0, "created_at": 0} for row in found[eid]] for eid in (1, 2))
            assert slow == quick, table
            assert len(slow) == (2 if table == "command" and not last else 1)
    finally:
        await held.close()


async def connect(postgres: Postgres) -> asyncpg.Connection:
    """Connect as the server does."""
    return await asyncpg.connect(**store.connection(postgres), server_settings=store.SETTINGS)


async def test_the_sweep_of_leases_leaves_sub_playbooks_alone(postgres: Postgres) -> None:
    """What the engine waits for has its time too, but ends by it: waiting anew would give it that time again."""
    held = await connect(postgres)
    try:
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            VALUES (1, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now());
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, fence, worker_id, lease_until, available_at)
            VALUES (1, 1, 1, 's', 'playbook', '@engine', 'running', 1, '@engine', now() - interval '1 s', now() - interval '9 s'),
                   (1, 2, 2, 't', 'python', 'default', 'running', 1, 'w', now() - interval '1 s', now() - interval '9 s');
            """
        )
        assert [row["command_id"] for row in await held.fetch(store.queries()["sweep_leases"], 2)] == [2]
        (forgotten,) = await held.fetch(store.queries()["engine_forgotten"])
        assert (forgotten["command_id"], forgotten["status"], forgotten["expired"]) == (1, "running", True)
    finally:
        await held.close()


async def test_what_only_waited_its_turn_is_not_held_against_it(postgres: Postgres) -> None:
    """E2: after a first loss only what its worker had said to begin is counted."""
    held = await connect(postgres)
    try:
        await held.execute(
            """
            INSERT INTO catalog (path, version, name, content, content_hash) VALUES ('p', 1, 'p', '', '');
            INSERT INTO execution (execution_id, catalog_id, path, version, status, state, payload, workload, start_time)
            VALUES (1, 1, 'p', 1, 'RUNNING', '{}', '{}', '{}', now());
            INSERT INTO command (execution_id, command_id, run_id, step, kind, pool, status, fence, worker_id, lease_until, lost,
                                 started_at)
            SELECT 1, n + 1, 1, 's', 'python', 'default', 'running', 1, 'w', now() - interval '1 s', n / 2,
                   CASE WHEN n % 2 = 1 THEN now() END FROM generate_series(0, 5) n;
            """
        )
        quarantined = await held.fetch(store.queries()["sweep_quarantined"], 2)
        assert [row["command_id"] for row in quarantined] == [6]
        await held.fetch(store.queries()["sweep_leases"], 2)
        rows = await held.fetch("SELECT command_id, lost FROM command WHERE status = 'waiting' ORDER BY command_id")
        assert [(row["command_id"], row["lost"]) for row in rows] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]
    finally:
        await held.close()
