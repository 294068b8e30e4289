"""Reads what is not in memory: executions, and the names that templates use."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from noetl.engine import loops
from noetl.engine.inputs import Continue, Done, Failed, Input, Start, Wake, Withdrawn
from noetl.engine.memo import SinkPoint
from noetl.engine.plan import NOTHING, Plan, Uses
from noetl.engine.state import State, decode
from noetl.engine.value import Stored, Value, loads
from noetl.errors import NotFound
from noetl.playbook.parse import parse
from noetl.server.execution import INLINE, Execution, Given, Issued, LoopInfo, issued_from_row
from noetl.store.postgres import Database, MovedOn

Json = Any
AGGREGATE = 1024 * 1024
"""Loops' aggregates up to this many bytes are put together as one text, larger ones are read piece by piece."""
PLANS = 256
RESERVED = frozenset(
    {"execution_id", "catalog_id", "job", "workload", "payload", "env", "spec", "steps", "now", "event", "error", "response", "result"}
    | {"keychain"}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A version of a playbook in the catalog. `newest` says that it was asked for as the newest one."""

    catalog_id: int
    path: str
    version: int
    newest: bool


class Loader:
    """Reads executions and their values from the database, and keeps the plans of playbooks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._plans: OrderedDict[int, Plan] = OrderedDict()
        self._newest: OrderedDict[str, Entry] = OrderedDict()

    async def entry(self, catalog_id: int | None, path: str | None, version: int | None) -> Entry | None:
        """Return a catalog entry by its id, or by its path and version (None for the newest); None if there is none.

        The newest version is remembered: whoever begins an execution with it has the commit check that it still is.
        """
        newest = catalog_id is None and version is None
        if newest and path is not None and (known := self._newest.get(path)) is not None:
            self._newest.move_to_end(path)
            return known
        row = await self._database.row("catalog_entry", catalog_id, path, version)
        if row is None:
            return None
        entry = Entry(row["catalog_id"], row["path"], row["version"], newest)
        if newest:
            self._newest[entry.path] = entry
            if len(self._newest) > PLANS:
                self._newest.popitem(last=False)
        return entry

    def forget_newest(self, path: str) -> None:
        """Read the newest version of a playbook anew when it is asked for next."""
        self._newest.pop(path, None)

    async def plan(self, catalog_id: int) -> Plan:
        """Return the plan of a catalog entry; an entry never changes."""
        plan = self._plans.get(catalog_id)
        if plan is None:
            row = await self._database.row("catalog_entry", catalog_id, None, None)
            if row is None:
                raise NotFound(f"there is no catalog entry {catalog_id}", "see: noetl catalog list")
            plan = Plan(await asyncio.to_thread(parse, row["content"], row["path"]))
            self._plans[catalog_id] = plan
            if len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(catalog_id)
        return plan

    async def execution(self, execution_id: int) -> Execution:
        """Read an execution; raise NotFound if there is none."""
        row = await self._database.row("load_execution", execution_id)
        if row is None:
            raise NotFound(f"there is no execution {execution_id}", "see: noetl execution list")
        return Execution(
            id=execution_id,
            catalog_id=row["catalog_id"],
            path=row["path"],
            version=row["version"],
            plan=await self.plan(row["catalog_id"]),
            revision=row["revision"],
            state=decode(loads(row["state"])),
            payload=loads(row["payload"]),
            workload=loads(row["workload"]),
            parent=(row["parent_execution_id"], row["parent_command_id"]) if row["parent_command_id"] is not None else None,
            depth=row["depth"],
        )

    async def withdrawn(self, execution: Execution, at: float) -> Withdrawn:
        """Count the withdrawn commands of an execution that was not told of them: those that it waits for, and that are not there."""
        rows = await self._database.rows("load_live", execution.id)
        if any(row["revision"] != execution.revision for row in rows):
            raise MovedOn("the execution has moved on")
        live = {row["run_id"]: row["live"] for row in rows}
        missing = {run.id: run.waits_for - live.get(run.id, 0) for run in execution.state.runs.values()}
        return Withdrawn(at, execution.state.owed, {run: number for run, number in missing.items() if number > 0})

    async def command(self, execution: Execution, command_id: int) -> tuple[str, int] | None:
        """Read what a report needs to know of its command; return the command's status and fence, None if there is no such command."""
        row = await self._database.row("load_command", execution.id, command_id)
        if row is None:
            return None
        found = issued_from_row(row, loads(row["input"]))
        execution.commands[command_id] = found
        if found.sink is not None:
            await self.given(execution, found)
        return row["status"], row["fence"]

    async def given(self, execution: Execution, issued: Issued) -> Given:
        """Return what a sink's command writes: the result or error of its call, or its loop's aggregate; read unless in memory."""
        point = issued.sink
        assert point is not None
        if point.event == "loop.done":
            if issued.run not in execution.aggregates:
                execution.aggregates[issued.run] = await self.aggregate(execution, issued.run)
            return Given(execution.aggregates[issued.run])
        if point.command == 0:
            return Given(Value.of(None))
        if point.command not in execution.given:
            row = await self._database.row("load_command", execution.id, point.command)
            result = await self._result(execution.id, point.command, row) if row is not None and row["status"] == "done" else None
            error = loads(row["error"]) if row is not None and row["error"] is not None else None
            execution.given[point.command] = Given(result if result is not None or error is not None else Value.of(None), error)
        return execution.given[point.command]

    async def pages(self, execution: Execution, run: int, item: int | None) -> None:
        """Read what a pagination's calls have collected so far, unless it is in memory."""
        if (run, item) not in execution.pages:
            rows = await self._database.rows("load_pages", execution.id, run, -1 if item is None else item)
            execution.pages[run, item] = [loads(row["value"]) for row in rows]

    async def names(self, execution: Execution, uses: Uses) -> None:
        """Read the step results and variables that are used and not in memory."""
        steps, others = needed(execution.plan.step_names, uses)
        await self.results(execution, [step for step in steps if not execution.has(step)])
        if execution.variables is None and others:
            if execution.complete:
                execution.variables = {}
            else:
                rows = await self._database.rows("load_variables", execution.id)
                execution.variables = {row["name"]: loads(row["value"]) for row in rows}

    def has(self, execution: Execution, uses: Uses) -> bool:
        """Whether the step results and variables that are used are in memory."""
        steps, others = needed(execution.plan.step_names, uses)
        known = execution.variables is not None or execution.complete or not others
        return known and all(execution.has(step) for step in steps)

    async def results(self, execution: Execution, steps: Sequence[str]) -> None:
        """Read the latest results of steps."""
        if not steps:
            return
        rows = await self._database.rows("load_results", execution.id, list(steps))
        found = {row["step"]: row for row in rows}
        for step in steps:
            row = found.get(step)
            if row is None:
                execution.results[step] = None
            elif row["is_loop"]:
                execution.results[step] = await self.aggregate(execution, row["run_id"])
            else:
                execution.results[step] = await self._result(execution.id, row["command_id"], row)

    async def _result(self, execution_id: int, command_id: int, row: Any) -> Value:
        """Return a finished command's result; one that is in chunks is not read here."""
        if row["result"] is not None:
            return Value(row["result"].encode())
        return await self.stored(execution_id, command_id, row["fence"]) or Value.of(None)

    async def stored(self, execution_id: int, command_id: int, fence: int) -> Stored | None:
        """Return the result that a command's worker has stored in chunks under this fence, unread; None if there is none."""
        row = await self._database.row("chunk_size", execution_id, command_id, fence)
        if row is None or not row["size"]:
            return None
        return Stored(("command", execution_id, command_id, fence), row["size"])

    async def aggregate(self, execution: Execution, run: int) -> Value:
        """Read a loop's result: the items' results in order, and counts; a large one is not read here."""
        row = await self._database.row("load_aggregate", execution.id, run, AGGREGATE)
        if row is None:
            return Value.of(loops.aggregate([], 0, 0))
        if row["result"] is not None:
            return Value(row["result"].encode())
        if row["results"] is None:
            frame = len(aggregate_head()) + len(aggregate_tail(row["total"], row["done"], row["failed"]))
            return Stored(("loop", execution.id, run, row["total"], row["done"], row["failed"]), row["size"] - 1 + frame)
        return Value(aggregate_text(row))

    async def items(self, execution: Execution, run: int) -> Sequence[Json]:
        """Read a loop's items, unless they are in memory."""
        if run not in execution.items:
            chunks = await self._database.rows("load_items", execution.id, run)
            execution.items[run] = [item for chunk in chunks for item in loads(chunk["items"])]
        return execution.items[run]

    async def order(self, execution: Execution, run: int) -> None:
        """Read which items a loop that goes on still had to issue when its execution began, unless it is in memory."""
        if run not in execution.orders:
            row = await self._database.row("load_redo", execution.id, run)
            execution.orders[run] = loads(row["redo"]) if row is not None and row["redo"] is not None else []

    async def loop(self, execution: Execution, run: int) -> LoopInfo:
        """Read what items need to know of their loop, unless it is in memory."""
        if run not in execution.loops:
            row = await self._database.row("load_loop", execution.id, run)
            if row is None:
                raise NotFound(f"execution {execution.id} has no loop {run}")
            execution.loops[run] = LoopInfo(loads(row["args"]), row["loop_results"], row["total"], row["iterator"])
        return execution.loops[run]

    async def prepare(self, execution: Execution, given: Input) -> bool:
        """Read what the engine may look at for an input; return whether it is cheap enough to be evaluated in this process."""
        uses, plain = reads(execution.plan, execution.state, given)
        await self.names(execution, uses)
        for run in execution.state.runs.values():
            if run.loop is None:
                continue
            plan = execution.plan.steps[run.step]
            if run.loop.redo:
                await self.order(execution, run.id)
            if isinstance(given, Wake) and run.loop.closing and run.id not in execution.aggregates:
                execution.aggregates[run.id] = await self.aggregate(execution, run.id)
                plain = plain and execution.aggregates[run.id].size <= INLINE
            if plan.reads_items and (isinstance(given, Wake) or (isinstance(given, Done | Failed) and given.run == run.id)):
                await self.items(execution, run.id)
        if isinstance(given, Done | Failed) and collected(given):
            await self.pages(execution, given.run, given.item)
        if isinstance(given, Done) and given.result.size > INLINE and not is_trivial(execution.plan, execution.state, given.run):
            return False
        used = _steps(uses)
        return plain and all(value is None or value.size <= INLINE for step, value in execution.results.items() if step in used)

    def used(self, execution: Execution, given: Input) -> dict[str, Value | None]:
        """Return the results that the engine may look at for an input, of those in memory."""
        uses, _ = reads(execution.plan, execution.state, given)
        if ("steps", None) in uses:
            return dict(execution.results)
        names = {root for root, _ in uses} | {attribute for root, attribute in uses if root == "steps"}
        return {step: value for step, value in execution.results.items() if step in names}

    def unread(self, execution: Execution, given: Input) -> list[Stored]:
        """Return the stored values that an input's templates may look at."""
        found = list(self.used(execution, given).values())
        if isinstance(given, Done):
            found += [given.result, given.response]
        if isinstance(given, Wake | Done):
            found += execution.aggregates.values()
        return list({value.place: value for value in found if isinstance(value, Stored)}.values())

    def ready(self, execution: Execution, given: Input) -> bool | None:
        """Return what `prepare` would if nothing has to be read, None if something has to be."""
        uses, plain = reads(execution.plan, execution.state, given)
        if isinstance(given, Wake):
            return None
        roots: set[str] = set()
        for root, _ in uses:
            roots.add(root)
            if root == "steps" or (root in execution.plan.step_names and not execution.has(root)):
                return None
        if execution.variables is None:
            if execution.complete:
                execution.variables = {}
            elif roots - execution.plan.step_names - RESERVED:
                return None
        if isinstance(given, Done | Failed):
            if collected(given) and (given.run, given.item) not in execution.pages:
                return None
            if given.sink is not None and not in_memory(execution, given.run, given.sink):
                return None
            if (
                given.item is not None
                and given.run in execution.state.runs
                and execution.plan.steps[execution.state.runs[given.run].step].reads_items
                and given.run not in execution.items
            ):
                return None
            run = execution.state.runs.get(given.run)
            if run is not None and run.loop is not None and run.loop.redo and run.id not in execution.orders:
                return None
            if isinstance(given, Done) and given.result.size > INLINE and not is_trivial(execution.plan, execution.state, given.run):
                return False
        return plain


@lru_cache(maxsize=4096)
def needed(step_names: frozenset[str], uses: Uses) -> tuple[tuple[str, ...], bool]:
    """Return the steps whose results are used, and whether anything else is that has to be read."""
    roots = {root for root, _ in uses}
    steps = {root for root in roots if root in step_names}
    steps |= {attribute for root, attribute in uses if root == "steps" and attribute in step_names}
    if ("steps", None) in uses:
        steps |= step_names
    return tuple(steps), bool(roots - steps - RESERVED)


def _steps(uses: Uses) -> set[str | None]:
    return {root for root, _ in uses} | {attribute for _, attribute in uses}


def reads(plan: Plan, state: State, given: Input) -> tuple[Uses, bool]:
    """Return the names that the engine may read for an input, and whether all expressions on its way are plain."""
    match given:
        case Start():
            return plan.starting, plan.starting_plain
        case Continue():
            entered = [plan.steps[point.step] for point in given.points]
            passed = [step for step in entered if step.passes]
            uses = frozenset().union(*(step.entering for step in entered), *(step.routing for step in passed))
            return uses, plan.starting_plain and all(step.entering_plain for step in entered) and all(step.plain for step in passed)
        case Done() | Failed():
            run = state.runs.get(given.run)
            if run is None:
                return NOTHING, True
            step = plan.steps[run.step]
            return step.routing, step.plain
        case Wake():
            return plan.waking(state)
        case _:
            return NOTHING, True


def collected(given: Done | Failed) -> bool:
    """Whether earlier calls of the pagination that an input belongs to have collected something."""
    return given.paging.collected > 0 or (given.sink is not None and given.sink.collected > 0)


def in_memory(execution: Execution, run: int, point: SinkPoint) -> bool:
    """Whether what a sink was to write is in memory."""
    if point.event == "loop.done":
        return run in execution.aggregates
    return point.command == 0 or point.command in execution.given


def is_trivial(plan: Plan, state: State, run_id: int) -> bool:
    """Whether the routing of a run's step looks at no value at all."""
    run = state.runs.get(run_id)
    return run is None or not plan.steps[run.step].own


def aggregate_text(row: Any) -> bytes:
    """Return the JSON text of a loop's result from its row, without decoding the items' results."""
    results: bytes = row["results"].encode()
    return aggregate_head() + results[1:-1] + aggregate_tail(row["total"], row["done"], row["failed"])


def aggregate_head() -> bytes:
    """Return what comes before the items' results in the JSON text of a loop's result."""
    return b'{"results":['


def aggregate_tail(total: int, done: int, failed: int) -> bytes:
    """Return what comes after them."""
    return b'],"stats":{"total":%d,"success":%d,"failed":%d}}' % (total, done, failed)
