"""Continuing an execution that ended: a new one that keeps what is done, and runs again from where the earlier one failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from noetl.engine.advance import advance
from noetl.engine.inputs import Continue, Point
from noetl.engine.outcome import Outcome
from noetl.engine.plan import Plan
from noetl.engine.state import TERMINAL, Left, LoopState, State
from noetl.engine.value import dumps, loads
from noetl.errors import Conflict, NotFound, UsageError
from noetl.playbook.inputs import check_payload
from noetl.server.execution import Execution
from noetl.server.pending import Begin

if TYPE_CHECKING:
    from noetl.server.runtime import Runtime

Json = Any


@dataclass(frozen=True)
class Wanted:
    """What is asked for: where to go on, only what has failed of loops, with which version of the playbook."""

    step: str | None = None
    failed_items: bool = False
    latest: bool = False


@dataclass
class Continuation:
    """What would run again and what is kept. `dropped` are runs whose results are not kept, `orders` the items that loops still issue."""

    earlier: Execution
    catalog_id: int
    version: int
    plan: Plan
    state: State
    points: list[Point] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    orders: dict[int, list[int]] = field(default_factory=dict)
    again: list[dict[str, Json]] = field(default_factory=list)
    kept: list[dict[str, Json]] = field(default_factory=list)

    def document(self) -> dict[str, Json]:
        """Return what is told of it."""
        return {
            "continues": str(self.earlier.id),
            "path": self.earlier.path,
            "version": self.version,
            "again": self.again,
            "kept": self.kept,
        }


async def planned(runtime: Runtime, execution_id: int, wanted: Wanted) -> Continuation:
    """Work out how an execution would be continued; raise Conflict where it cannot be."""
    earlier = await runtime.loader.execution(execution_id)
    status = earlier.state.status
    if status not in TERMINAL:
        raise Conflict(f"execution {execution_id} is {status}: it goes on by itself", f"see: noetl execution why {execution_id}")
    if status == "COMPLETED" and wanted.step is None:
        raise Conflict(f"execution {execution_id} has COMPLETED", f"name a step: noetl execution retry {execution_id} --from STEP")
    entry = await runtime.loader.entry(None, earlier.path, None) if wanted.latest else None
    if wanted.latest and entry is not None:
        # What is remembered as the newest may have been followed by another since.
        runtime.loader.forget_newest(entry.path)
        entry = await runtime.loader.entry(None, earlier.path, None)
    catalog_id, version = (entry.catalog_id, entry.version) if entry is not None else (earlier.catalog_id, earlier.version)
    old = earlier.state
    state = State(
        next_run=old.next_run,
        next_command=old.next_command,
        end_args=old.end_args,
        end_loop_results=old.end_loop_results,
        end_ran=old.end_ran and not any(left.step == "end" for left in old.left),
        last_step=old.last_step,
    )
    found = Continuation(earlier, catalog_id, version, await runtime.loader.plan(catalog_id), state)
    runs = await runtime.database.rows("steps", execution_id)
    left = list(old.left) or ([] if status == "COMPLETED" else _blamed(old, runs))
    if wanted.step is not None:
        left = _from(found, runs, left, wanted.step)
    await _points(runtime, found, left, wanted)
    found.kept = [_kept(row) for row in runs if row["run_id"] not in found.dropped and row["run_id"] not in found.orders]
    _fits(found, wanted)
    if wanted.latest:
        playbook = found.plan.playbook
        check_payload(playbook.inputs, playbook.workload, earlier.payload, f"version {version} of {earlier.path}")
    return found


async def begin(runtime: Runtime, found: Continuation) -> Execution:
    """Begin the execution: copies, beginning and first commands in one transaction."""
    earlier, at = found.earlier, runtime.clock()
    new = Execution(
        id=runtime.execution_id(),
        catalog_id=found.catalog_id,
        path=earlier.path,
        version=found.version,
        plan=found.plan,
        revision=0,
        state=found.state,
        payload=earlier.payload,
        workload=earlier.workload,
        depth=earlier.depth,
    )
    outcome = await _outcome(runtime, found, new, Continue(at, str(earlier.id), tuple(found.points)))
    beginning = Begin(new, None, at, asyncio.get_running_loop().create_future())
    dropped, going_on = sorted(found.dropped), sorted(found.orders)
    async with runtime.database.transaction() as transaction:
        row = await transaction.row("retry_lock", earlier.id)
        if row is not None and row["execution_id"] is not None:
            other = row["execution_id"]
            raise Conflict(f"execution {earlier.id} is already continued by {other}", f"see: noetl execution follow {other}")
        await transaction.rows("retry_copy_commands", earlier.id, new.id, dropped, going_on)
        await transaction.rows("retry_copy_chunks", earlier.id, new.id)
        if (file := await transaction.row("file_current", earlier.id)) is not None:
            await transaction.rows("retry_copy_file", earlier.id, new.id, file["command_id"], file["fence"])
            await transaction.rows("retry_copy_pieces", earlier.id, new.id, file["command_id"], file["fence"])
        await transaction.rows("retry_copy_loops", earlier.id, new.id, dropped, going_on)
        for run, order in found.orders.items():
            kept = next(point.loop.cursor for point in found.points if point.run == run and point.loop is not None)
            await transaction.rows("retry_copy_loop", earlier.id, new.id, run, kept, dumps(order).decode())
        await transaction.rows("retry_copy_items", earlier.id, new.id, dropped)
        await transaction.rows("retry_copy_variables", earlier.id, new.id)
        settled = await runtime.committer.begin_copied(beginning, outcome, transaction)
        await transaction.rows("retry_begun", new.id, earlier.id)
    settled()
    return new


async def _outcome(runtime: Runtime, found: Continuation, new: Execution, given: Continue) -> Outcome:
    """Let the engine begin: what its templates read is still the earlier execution's."""
    reader = replace(found.earlier, plan=found.plan, state=found.state, orders=dict(found.orders))
    plain = await runtime.loader.prepare(reader, given)
    for point in given.points:
        if point.run is not None and found.plan.steps[point.step].rules_at["step.enter"]:
            await runtime.loader.items(reader, point.run)
    known = reader.known(runtime.settings.playbook_env)
    known.execution_id, known.catalog_id = str(new.id), str(new.catalog_id)
    if plain:
        return advance(found.plan, found.state, given, known)
    return await runtime.evaluator.advance(found.catalog_id, found.plan, found.state, given, known)


def _blamed(state: State, runs: Iterable[Mapping[str, Any]]) -> list[Left]:
    """Return the step that is blamed for the failure, where nothing else is known of what was left."""
    step = (state.failure or {}).get("step")
    if step is None:
        return [] if state.next_run > 1 else [Left("start", None, {})]
    last = max((row["run_id"] for row in runs if row["step"] == step), default=None)
    return [Left(step, last, {} if last is None else None)]


def _from(found: Continuation, runs: Iterable[Mapping[str, Any]], left: list[Left], step: str) -> list[Left]:
    """Go on at a step: what can follow from it is done again, what cannot and was left goes on too."""
    known = found.earlier.plan.steps
    if step not in known:
        raise NotFound(f"playbook {found.earlier.path} version {found.earlier.version} has no step {step}", f"steps: {', '.join(known)}")
    last = max((row["run_id"] for row in runs if row["step"] == step), default=None)
    if last is None and step != "start":
        raise Conflict(f"step {step} has not run in execution {found.earlier.id}", f"see: noetl execution status {found.earlier.id}")
    follows = _reachable(found.earlier.plan, step)
    found.dropped |= {row["run_id"] for row in runs if row["step"] in follows and row["run_id"] >= (last or 0)}
    if "end" in follows:
        # Whatever led to the end before is done, or done again: it comes once, after all of it.
        args = found.state.end_args if not found.state.end_ran else None
        found.state = replace(found.state, end_ran=False, end_args=args)
    others = [one for one in left if one.step not in follows and one.step != step]
    return [Left(step, last, {} if last is None else None), *others]


def _reachable(plan: Plan, step: str) -> set[str]:
    seen: set[str] = {step}
    waiting = [step]
    while waiting:
        for name in plan.steps[waiting.pop()].targets:
            if name not in seen and name in plan.steps:
                seen.add(name)
                waiting.append(name)
    return seen


async def _points(runtime: Runtime, found: Continuation, left: list[Left], wanted: Wanted) -> None:
    """Turn what was left into where the engine goes on."""
    eid = found.earlier.id
    numbers = [one.run for one in left if one.run is not None]
    entered = {row["run_id"]: row for row in await runtime.database.rows("retry_runs", eid, numbers, None)}
    looped = {row["run_id"]: row for row in await runtime.database.rows("retry_loops", eid, numbers, None)}
    some = False
    for one in left:
        row = looped.get(one.run) if one.run is not None else None
        whole = row is not None and row["done"] == row["total"]
        unfinished = row is not None and not whole and wanted.failed_items
        some = some or unfinished
        if row is not None and one.run is not None and one.step != wanted.step and (whole or unfinished):
            await _go_on(runtime, found, one.run, row)
            continue
        if one.run is not None:
            found.dropped.add(one.run)
        args, loop_results = one.args or {}, one.loop_results
        if row is not None:
            args, loop_results = loads(row["args"]), row["loop_results"]
        elif one.run in entered:
            document = loads(entered[one.run]["input"])
            args, loop_results = document.get("args", {}), document.get("loop_results")
        found.points.append(Point(one.step, args, loop_results))
        items = {"items": row["total"], "items_done": row["done"]} if row is not None else {}
        found.again.append({"step": one.step, "run": one.run, "what": "entered" if one.run is None else "entered again", **items})
    if not found.points:
        raise Conflict(f"execution {eid} has left nothing to run", f"name a step: noetl execution retry {eid} --from STEP")
    if wanted.failed_items and not some:
        raise Conflict(f"execution {eid} has no loop that items are left of", f"see: noetl execution retry {eid} --dry-run")


async def _go_on(runtime: Runtime, found: Continuation, run: int, row: Mapping[str, Any]) -> None:
    """Take a loop up with the items that are not done."""
    step = found.plan.steps[row["step"]].step if row["step"] in found.plan.steps else None
    if step is None or step.loop is None:
        raise Conflict(f"step {row['step']} has no loop in version {found.version}", "leave out --failed-items, or use --version same")
    done = {item["item"] for item in await runtime.database.rows("retry_items", found.earlier.id, run)}
    order = [item for item in range(row["total"]) if item not in done]
    found.orders[run] = order
    kept = row["total"] - len(order)
    loop = LoopState(row["total"], 0, cursor=kept, done=kept, redo=True)
    found.points.append(Point(row["step"], loads(row["args"]), row["loop_results"], run, loop))
    what = f"runs {len(order)} of its items" if order else "ends its loop"
    found.again.append({"step": row["step"], "run": run, "what": what, "items": row["total"], "items_done": kept})


def _fits(found: Continuation, wanted: Wanted) -> None:
    """Refuse a version of the playbook that has not the steps at which to go on."""
    needed = [point.step for point in found.points] + (["end"] if found.state.end_args is not None else [])
    gone = sorted({step for step in needed if step not in found.plan.step_names})
    if gone:
        raise Conflict(
            f"version {found.version} of {found.earlier.path} has no step {', '.join(gone)}, where {found.earlier.id} would go on",
            f"go on with its own version: noetl execution retry {found.earlier.id} --version same; or name a step of both: --from STEP",
        )


def _kept(row: Mapping[str, Any]) -> dict[str, Json]:
    return {"step": row["step"], "run": row["run_id"], "items": row["total"]}


def wanted_of(document: Mapping[str, Json]) -> Wanted:
    """Read what is asked for: `{from?, failed_items?, version?}`."""
    version = document.get("version") or "same"
    if version not in ("same", "latest"):
        raise UsageError(f"version {version!r} is not known", "use same or latest")
    step = document.get("from") or None
    if step is not None and not isinstance(step, str):
        raise UsageError("from is no step's name", '{"from": "STEP"}')
    if step is not None and document.get("failed_items"):
        raise UsageError("from and failed_items exclude each other", "leave one out: a step that is named is entered anew")
    return Wanted(step, bool(document.get("failed_items")), version == "latest")
