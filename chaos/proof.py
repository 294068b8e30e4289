"""Proves from the database and the ledger that nothing was lost and nothing recorded was repeated."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.load import Load
from chaos.platform import Platform, connected
from chaos.stories import LIMIT, STORIES, Story

SHOWN = 5
"""How many examples of a problem are shown."""
Rows = list[Mapping[str, Any]]

UNFINISHED = """
SELECT e.execution_id, e.path, e.status,
       (SELECT string_agg(DISTINCT c.step || ' ' || c.status || ' ' || c.pool, ', ') FROM command c
        WHERE c.execution_id = e.execution_id AND c.status IN ('waiting', 'running')) AS commands
FROM execution e WHERE e.end_time IS NULL"""
# The ends of calls. A sink that fails is its call's error, too: what follows a `sink.failed` is no second end.
CALLS = """(
    SELECT e.* FROM event e WHERE e.command_id IS NOT NULL AND (e.event_type = 'call.done' OR (
        e.event_type = 'call.error' AND NOT EXISTS (
            SELECT 1 FROM event s WHERE s.execution_id = e.execution_id AND s.seq = e.seq - 1 AND s.event_type = 'sink.failed'))))"""
# What must not be found, by what it would mean.
FORBIDDEN = {
    "a result was recorded more than once": f"""
        SELECT execution_id, command_id, count(*) AS times FROM {CALLS} e
        GROUP BY execution_id, command_id HAVING count(*) > 1""",
    "a command is done and its event is missing, or the other way round": f"""
        SELECT c.execution_id, c.command_id, c.step, c.status, e.event_type FROM command c
        LEFT JOIN {CALLS} e ON e.execution_id = c.execution_id AND e.command_id = c.command_id
        WHERE c.kind NOT LIKE 'sink:%' AND (c.status = 'done' AND e.event_type IS DISTINCT FROM 'call.done'
           OR c.status = 'failed' AND e.event_type IS DISTINCT FROM 'call.error')""",
    "an item of a loop is done more than once": """
        SELECT execution_id, run_id, item, count(*) AS times FROM command
        WHERE item IS NOT NULL AND status = 'done' AND kind NOT LIKE 'sink:%' GROUP BY execution_id, run_id, item HAVING count(*) > 1""",
    "a command waits or runs in an execution that is over": """
        SELECT c.execution_id, c.command_id, c.step, c.status, e.status AS execution FROM command c JOIN execution e USING (execution_id)
        WHERE e.end_time IS NOT NULL AND c.status IN ('waiting', 'running')""",
    "the counts of a loop do not add up": """
        SELECT l.execution_id, l.step, l.total, l.done, l.failed, l.cancelled, e.status FROM loop l JOIN execution e USING (execution_id)
        WHERE e.end_time IS NOT NULL AND l.done + l.failed + l.cancelled <> l.total""",
    "a loop counts other items than there are": """
        SELECT l.execution_id, l.step, l.done, c.done AS rows FROM loop l JOIN LATERAL (
            SELECT count(DISTINCT item) FILTER (WHERE status = 'done') AS done FROM command c
            WHERE c.execution_id = l.execution_id AND c.run_id = l.run_id AND c.kind NOT LIKE 'sink:%') c ON true
        JOIN execution e ON e.execution_id = l.execution_id WHERE l.done <> c.done AND e.status = 'COMPLETED'""",
    "a command is quarantined that has not lost its workers": """
        SELECT execution_id, command_id, step, lost, status FROM command
        WHERE error ->> 'type' = 'quarantined' AND pool <> '@engine' AND lost < 2""",
    "events are missing": """
        SELECT execution_id, count(*) AS events, max(seq) AS last FROM event GROUP BY execution_id HAVING count(*) <> max(seq)""",
    # From when a command is issued until it has ended includes every lease of it. Both times are those of the commits that did it.
    "more items of a loop were under way at once than its limit": f"""
        SELECT execution_id, step, max(live) AS live FROM (
            SELECT execution_id, run_id, step, sum(one) OVER (PARTITION BY execution_id, run_id ORDER BY at, one) AS live FROM (
                SELECT execution_id, run_id, step, item, created_at AS at, 1 AS one FROM command
                UNION ALL SELECT execution_id, run_id, step, item, finished_at, -1 FROM command WHERE finished_at IS NOT NULL
            ) moments JOIN execution e USING (execution_id) WHERE item IS NOT NULL AND e.path = 'chaos/limited'
        ) counted GROUP BY execution_id, run_id, step HAVING max(live) > {LIMIT}""",
    "a child runs on without its parent": """
        SELECT e.execution_id, e.status, p.status AS parent FROM execution e JOIN execution p ON p.execution_id = e.parent_execution_id
        WHERE e.end_time IS NULL AND p.end_time IS NOT NULL""",
}
ENDS = """
SELECT e.execution_id, e.path, e.status, e.parent_execution_id, e.error::text AS error,
       (SELECT c.result::text FROM command c WHERE c.execution_id = e.execution_id AND c.step = 'end' AND c.status = 'done') AS result
FROM execution e"""
LEASES = """
SELECT execution_id, step, item, kind, sum((fence + 1) / 2) AS leases, max(finished_at) AS finished,
       bool_or(status = 'done') AS done, sum(lost) AS lost
FROM command WHERE kind IN ('python', 'sink:postgres') GROUP BY execution_id, step, item, kind"""


class Proof:
    """`problems` says what is wrong, each with examples; `counts` what was seen."""

    def __init__(self) -> None:
        self.problems: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}
        self.quarantined = 0

    def found(self, what: str, examples: list[str]) -> None:
        """Note a problem, unless there is no example of it."""
        if examples:
            self.problems.setdefault(what, []).extend(examples)


async def unfinished(platform: Platform) -> list[str]:
    """Return the executions that are not over, each with what it waits for."""
    async with connected(platform.database) as held:
        return _shown(await held.fetch(_in_noetl(UNFINISHED)))


async def prove(platform: Platform, load: Load, ledger: Path) -> Proof:
    """Look at everything that was recorded."""
    proof = Proof()
    proof.found("an execution is not over", await unfinished(platform))
    async with connected(platform.database) as held:
        await held.execute("SET search_path = noetl")
        for what, query in FORBIDDEN.items():
            proof.found(what, _shown(await held.fetch(query)))
        ends = await held.fetch(ENDS)
        leases = await held.fetch(LEASES)
        commands = await held.fetchrow("SELECT count(*) AS n, sum(lost) AS lost FROM command")
        items = await held.fetchval("SELECT coalesce(sum(total), 0) FROM loop")
    async with connected(platform.outside) as held:
        written = {(row["eid"], row["n"]): row["times"] for row in await held.fetch(WRITTEN)}
    _ended_well(proof, ends, load)
    lines = _ledger(ledger)
    _nothing_repeated(proof, leases, lines)
    _sinks_wrote(proof, leases, written)
    by_status: dict[str, int] = defaultdict(int)
    for row in ends:
        by_status[row["status"]] += 1
    proof.counts = {"executions": len(ends), "accepted": len(load.accepted), **by_status, "commands": commands["n"], "items": items}
    proof.counts |= {"tool runs": sum(map(len, lines.values())), "leases lost": commands["lost"] or 0, "quarantined": proof.quarantined}
    return proof


WRITTEN = "SELECT eid, n, count(*) AS times FROM public.written GROUP BY eid, n"


def _ended_well(proof: Proof, ends: Rows, load: Load) -> None:
    """Every execution that was accepted is there, and each ended as its playbook says."""
    stories = {story.path: story for story in STORIES}
    known = {str(row["execution_id"]) for row in ends}
    proof.found("an accepted execution is missing", sorted(set(load.accepted) - known))
    cancelled = load.cancelled | {str(row["execution_id"]) for row in ends if str(row["parent_execution_id"]) in load.cancelled}
    for row in ends:
        story = stories[row["path"]]
        if story.status == "COMPLETED" and row["status"] == "FAILED" and '"quarantined"' in (row["error"] or ""):
            # What has lost three workers ends so, and with it whoever waited for it; the plan breaks enough of them for it to happen.
            proof.quarantined += 1
            continue
        may = {story.status, "CANCELLED"} if str(row["execution_id"]) in cancelled else {story.status}
        if row["status"] not in may:
            proof.found(f"an execution is {row['status']} and should not be", [_line(row)])
        elif row["status"] == "COMPLETED" and not _is(story, row["result"]):
            proof.found("a result is wrong", [f"{_line(row)}, expected {story.result}"])


def _is(story: Story, result: str | None) -> bool:
    return result is not None and json.loads(result) == story.result


def _ledger(file: Path) -> dict[tuple[int, str], list[int]]:
    """Return when each step's tool began to run, in nanoseconds since 1970."""
    found: dict[tuple[int, str], list[int]] = defaultdict(list)
    for line in file.read_text().splitlines() if file.exists() else ():
        execution, key, at = line.split()
        found[int(execution), key].append(int(at))
    return found


def _nothing_repeated(proof: Proof, leases: Rows, lines: Mapping[tuple[int, str], list[int]]) -> None:
    """No recorded step is without a run, none ran more often than it was leased, none began after it was recorded."""
    for row in leases:
        if row["kind"] != "python":
            continue
        key = row["step"] if row["item"] is None else f"{row['step']}:{row['item']}"
        began = lines.get((row["execution_id"], key), [])
        if row["done"] and not began:
            proof.found("a recorded step never ran", [_line(row)])
        if len(began) > row["leases"]:
            proof.found("a step ran more often than it was leased", [f"{_line(row)}: {len(began)} runs"])
        late = [at for at in began if row["done"] and at / 1e9 > row["finished"].timestamp()]
        if late:
            after = max(late) / 1e9 - row["finished"].timestamp()
            proof.found("a recorded step ran again", [f"{_line(row)}: {after:.3f} s after it was recorded"])


def _sinks_wrote(proof: Proof, leases: Rows, written: Mapping[tuple[str, int], int]) -> None:
    for row in leases:
        if row["kind"] != "sink:postgres" or not row["done"]:
            continue
        times = written.get((str(row["execution_id"]), row["item"]), 0)
        if not 1 <= times <= row["leases"]:
            proof.found("a sink wrote too often or never", [f"{_line(row)}: {times} rows"])


def _in_noetl(query: str) -> str:
    return query.replace("FROM execution ", "FROM noetl.execution ").replace("FROM command ", "FROM noetl.command ")


def _shown(rows: Rows) -> list[str]:
    return [_line(row) for row in rows]


def _line(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)[:400]
