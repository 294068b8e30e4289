"""Loops: items issued up to a limit or in chunks, counted as they finish, closed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from noetl.engine import pages
from noetl.engine.outcome import LoopRow
from noetl.engine.plan import StepPlan
from noetl.engine.routing import follow, occur
from noetl.engine.scope import lookup
from noetl.engine.state import LoopState, Run
from noetl.engine.turn import Entry, Turn
from noetl.engine.value import Value
from noetl.engine.visit import Visit
from noetl.errors import NoetlError
from noetl.playbook.bounds import MAX_LIMIT
from noetl.playbook.model import Loop

Json = Any
CHUNK = 1000
"""How many items one transition issues."""
MAX_ITEMS = MAX_LIMIT


class TooManyItems(NoetlError):
    """A loop over more items than one may have."""

    code = "too_many_items"


class BadLimit(NoetlError):
    """A loop's `limit` that is no number of items."""

    code = "limit"


class ResultsGone(NoetlError):
    """`loop_results` read by the items of a loop that is entered long after the loop which they belong to."""

    code = "loop_results"


def open_loop(turn: Turn, run: Run, entry: Entry) -> None:
    """Evaluate the items of a run's loop and issue the first of them."""
    plan = turn.step(run)
    loop = plan.step.loop
    assert loop is not None
    try:
        args = args_of(turn, entry, plan)
        items = as_items(turn.plan.templates.render(loop.items, {**lookup(turn.view, plan.entering_roots), **args, "args": args}))
        limit = 1 if loop.mode == "sequential" else _limit(turn, run, loop, args)
        if len(items) > MAX_ITEMS:
            raise TooManyItems(
                f"step {run.step} loops over {len(items)} items; at most {MAX_ITEMS} are possible",
                "loop over parts of them: `| batch(1000) | list`",
            )
    except NoetlError as error:
        del turn.runs[run.id]
        told = error.as_error("`loop`: " if error.code == "template" else "")
        turn.fail(told, run.step)
        turn.leave_entry(entry)
        turn.event("call.error", run, error=told)
        return
    pages.reset(turn, plan.step)
    run = run.with_loop(LoopState(total=len(items), limit=limit))
    turn.runs[run.id] = run
    turn.view.set_items(run.id, items)
    turn.loops[run.id] = row(run, items=items, args=entry.args, iterator=loop.iterator, loop_results=entry.loop_results)
    if items:
        issue(turn, run)
    else:
        turn.view.set_aggregate(run.id, Value.of(aggregate([], 0, 0)))
        close(turn, run)


def _limit(turn: Turn, run: Run, loop: Loop, args: Mapping[str, Json]) -> int:
    """Return how many items may run at once; 0 for as many as there are."""
    if not isinstance(loop.limit, str):
        return loop.limit or 0
    scope = {**lookup(turn.view, turn.step(run).entering_roots), **args, "args": args}
    limit = turn.plan.templates.render(loop.limit, scope)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        is_text = isinstance(limit, str)
        found = f"the text {limit[:100]!r}" if is_text else str(limit)[:100]
        hint = "For the number that a text says write {{ … | int }}" if is_text else "Leave `limit` out for all items at once"
        raise BadLimit(f"`limit` of the loop has to be a whole number of at least 1; it is {found}", hint)
    return limit


def args_of(turn: Turn, entry: Entry, plan: StepPlan) -> Mapping[str, Json]:
    """Return the args of a transition with the `loop_results` that belong to them, where `loop.in` or `when` reads those."""
    if entry.loop_results is None or "loop_results" in entry.args or not plan.entering_results:
        return entry.args
    results = turn.view.aggregate(entry.loop_results)
    if results is None:
        raise ResultsGone(
            f"step {entry.step}: `loop_results` is known only right after its loop", "read the loop's step: {{ STEP.results }}"
        )
    return {**entry.args, "loop_results": results.get()}


def take_up(turn: Turn, run: Run, entry: Entry) -> None:
    """Go on with a loop that an earlier execution has left: its row and its items are there, its limit is evaluated anew."""
    plan = turn.step(run)
    loop = plan.step.loop
    assert loop is not None and run.loop is not None
    try:
        limit = 1 if loop.mode == "sequential" else _limit(turn, run, loop, args_of(turn, entry, plan))
    except NoetlError as error:
        turn.fail(error.as_error(), run.step)
        turn.leave_entry(entry)
        return
    run = run.with_loop(replace(run.loop, limit=limit))
    turn.runs[run.id] = run
    if run.loop is not None and run.loop.cursor < run.loop.total:
        issue(turn, run)


def issue(turn: Turn, run: Run) -> None:
    """Issue the next items: up to the limit, or a chunk where there is none. A failure at an item's `step.enter` stops it."""
    loop = run.loop
    assert loop is not None
    room = min(loop.total - loop.cursor, CHUNK, (loop.limit - loop.live) if loop.limit else CHUNK)
    at_enter = turn.step(run).rules_at["step.enter"]
    order = turn.view.known.orders[run.id] if loop.redo else None
    kept = loop.total - len(order) if order is not None else 0
    issued = 0
    fired: tuple[int, ...] = ()
    while issued < room:
        place = loop.cursor + issued
        item = place if order is None else order[place - kept]
        turn.event("step.enter", run, item=item, command=turn.next_command)
        if at_enter:
            visit = Visit(run, item)
            occur(turn, visit, "step.enter")
            fired = tuple(sorted(visit.fired))
            if turn.failing:
                break
        turn.command(run, item, {}, fired, None)
        issued += 1
    count(turn, run.with_loop(loop.issue(issued)))


def finish_item(turn: Turn, run: Run, failed: bool) -> None:
    """Count a finished item, and go on: the next item, or the loop's end."""
    assert run.loop is not None
    loop = run.loop.finish(failed)
    run = run.with_loop(loop)
    if turn.failure is None and loop.limit and loop.cursor < loop.total:
        issue(turn, run)
        return
    count(turn, run)
    if turn.failure is None and loop.closing and not turn.step(run).reads_aggregate:
        close(turn, run)


def proceed(turn: Turn) -> None:
    """Do what loops were waiting for a Wake to do: the next chunk, or closing with the aggregate that is now known."""
    for run in list(turn.runs.values()):
        if turn.failing:
            return
        if run.loop is None or run.suspended or not run.loop.waits:
            continue
        if not run.loop.closing:
            issue(turn, run)
        elif turn.view.aggregate(run.id) is not None:
            close(turn, run)


def pending(turn: Turn) -> bool:
    """Whether a loop waits for a Wake."""
    return any(run.loop is not None and not run.suspended and run.loop.waits for run in turn.runs.values())


def close(turn: Turn, run: Run) -> None:
    """End a loop whose items are all finished: `loop.done`, `vars`, and on."""
    loop = run.loop
    assert loop is not None
    visit = closing(turn, run)
    turn.event("loop.done", run, status="COMPLETED", detail={"total": loop.total, "success": loop.done, "failed": loop.failed})
    if occur(turn, visit, "loop.done"):
        closed(turn, visit)
    elif visit.override is not None:
        count(turn, turn.runs[run.id], result=visit.override)


def closing(turn: Turn, run: Run) -> Visit:
    """Return a loop's end as its rules see it."""
    return Visit(run, response=turn.view.aggregate(run.id), loop_results=run.id)


def closed(turn: Turn, visit: Visit) -> None:
    """Take a loop off the active runs, and follow its structural transition unless a rule has routed it."""
    run = visit.run
    turn.finish(run, visit.result, ("loop", run.id))
    if visit.override is not None:
        turn.view.set_aggregate(run.id, visit.override)
    count(turn, run, closed=True, result=visit.override)
    if not visit.routed and not turn.failed_here:
        follow(turn, visit)
    if turn.failed_here:
        turn.entering.clear()
        turn.leave(run)


def drop(turn: Turn, run: Run) -> None:
    """End a loop that will not go on: what was not finished is cancelled."""
    assert run.loop is not None
    del turn.runs[run.id]
    turn.last_step = run.step
    turn.leave(run)
    count(turn, run.with_loop(run.loop.withdraw(run.loop.live)), closed=True)


def count(turn: Turn, run: Run, *, closed: bool = False, result: Value | None = None) -> None:
    """Put a loop's counts into the state and into its row."""
    if not closed:
        turn.runs[run.id] = run
    earlier = turn.loops.get(run.id)
    opening = {name: getattr(earlier, name) for name in ("items", "args", "iterator", "loop_results")} if earlier else {}
    turn.loops[run.id] = row(run, closed=closed, result=result, **opening)


def row(run: Run, *, closed: bool = False, result: Value | None = None, **opening: Any) -> LoopRow:
    """Return a loop's row; a closed one has no item that is neither done, failed nor cancelled."""
    loop = run.loop
    assert loop is not None
    return LoopRow(
        run=run.id,
        step=run.step,
        total=loop.total,
        issued=loop.cursor,
        done=loop.done,
        failed=loop.failed,
        cancelled=loop.total - loop.done - loop.failed if closed else 0,
        closed=closed,
        result=result,
        **opening,
    )


def as_items(value: Json) -> list[Json]:
    """Return the items of `loop.in`: a mapping gives its [key, value] pairs, nothing gives none, a scalar is one item."""
    match value:
        case None:
            return []
        case list():
            return value
        case str() | bytes():
            return [value]
        case Mapping():
            return [[key, item] for key, item in value.items()]
        case Iterable():
            return list(value)
        case _:
            return [value]


def aggregate(results: list[Json], success: int, failed: int) -> dict[str, Json]:
    """Return a loop's result: the items' results in the items' order, and counts."""
    return {"results": results, "stats": {"total": len(results), "success": success, "failed": failed}}
