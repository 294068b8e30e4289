"""Loops: items issued up to a limit or in chunks, counted as they finish, closed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from noetl.engine.outcome import LoopRow
from noetl.engine.routing import Visit, follow, occur
from noetl.engine.scope import lookup
from noetl.engine.state import LoopState, Run
from noetl.engine.turn import Entry, Turn
from noetl.engine.value import Value
from noetl.errors import NoetlError

Json = Any
CHUNK = 1000
"""How many items one transition issues."""
MAX_ITEMS = 1_000_000


class TooManyItems(NoetlError):
    """A loop over more items than one may have."""

    code = "too_many_items"


def open_loop(turn: Turn, run: Run, entry: Entry) -> None:
    """Evaluate the items of a run's loop and issue the first of them."""
    loop = turn.step(run).step.loop
    assert loop is not None
    try:
        scope = lookup(turn.known, turn.at, turn.step(run).entering_roots)
        items = as_items(turn.plan.templates.render(loop.items, {**scope, **entry.args, "args": entry.args}))
        if len(items) > MAX_ITEMS:
            raise TooManyItems(f"step {run.step} loops over {len(items)} items; at most {MAX_ITEMS} are possible")
    except NoetlError as error:
        del turn.runs[run.id]
        turn.fail({"message": error.message, "type": error.code}, run.step)
        turn.event("call.error", run, error={"message": error.message, "type": error.code})
        return
    limit = 1 if loop.mode == "sequential" else 0
    opened = replace(run, loop=LoopState(total=len(items), limit=limit))
    turn.runs[run.id] = opened
    turn.known.items = {**turn.known.items, run.id: items}
    turn.loops[run.id] = row(opened, items=items, args=entry.args, iterator=loop.iterator, loop_results=entry.loop_results)
    if not items:
        turn.known.aggregates = {**turn.known.aggregates, run.id: Value.of(aggregate([], 0, 0))}
        close(turn, opened)
    else:
        issue(turn, opened)


def issue(turn: Turn, run: Run) -> None:
    """Issue the next items: up to the limit, or a chunk where there is none."""
    loop = run.loop
    assert loop is not None
    room = min(loop.total - loop.cursor, (loop.limit - loop.live) if loop.limit else CHUNK)
    plan = turn.step(run)
    at_enter = any("step.enter" in rule.events for rule in plan.rules)
    for item in range(loop.cursor, loop.cursor + room):
        visit = Visit(run, item=item)
        turn.event("step.enter", run, item=item, command=turn.next_command)
        if at_enter:
            occur(turn, visit, "step.enter")
        turn.command(run, item, {}, tuple(sorted(visit.fired)), None)
    count(turn, replace(run, loop=replace(loop, cursor=loop.cursor + room, live=loop.live + room)))


def finish_item(turn: Turn, run: Run, failed: bool) -> None:
    """Count a finished item, and go on: the next item, or the loop's end."""
    loop = run.loop
    assert loop is not None
    loop = replace(loop, live=loop.live - 1, done=loop.done + (not failed), failed=loop.failed + failed)
    run = replace(run, loop=loop)
    count(turn, run)
    if turn.failure is None and loop.limit and loop.cursor < loop.total:
        issue(turn, run)
    elif turn.failure is None and loop.closing and not turn.step(run).reads_aggregate:
        close(turn, run)


def proceed(turn: Turn) -> None:
    """Do what loops were waiting for a Wake to do: the next chunk, or closing with the aggregate that is now known."""
    for run in list(turn.runs.values()):
        if run.loop is None:
            continue
        if run.loop.closing and run.id in turn.known.aggregates:
            close(turn, run)
        elif not run.loop.limit and run.loop.cursor < run.loop.total:
            issue(turn, run)


def pending(turn: Turn) -> bool:
    """Whether a loop waits for a Wake."""
    return any(run.loop is not None and (run.loop.closing or (not run.loop.limit and run.loop.cursor < run.loop.total)) for run in turn.runs.values())


def close(turn: Turn, run: Run) -> None:
    """End a loop whose items are all finished: `loop.done`, `vars`, and on."""
    response = turn.known.aggregates.get(run.id)
    visit = Visit(run, response=response, loop_results=run.id)
    loop = run.loop
    assert loop is not None
    turn.event("loop.done", run, status="COMPLETED", detail={"total": loop.total, "success": loop.done, "failed": loop.failed})
    occur(turn, visit, "loop.done")
    turn.finish(run, visit.result, ("loop", run.id))
    count(turn, run, closed=True, result=visit.override)
    if not visit.routed and turn.failure is None:
        visit.run = run
        follow(turn, visit)


def drop(turn: Turn, run: Run) -> None:
    """End a loop that will not go on: what was not finished is cancelled."""
    del turn.runs[run.id]
    turn.last_step = run.step
    assert run.loop is not None
    count(turn, replace(run, loop=replace(run.loop, live=0)), closed=True)


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
    cancelled = loop.total - loop.done - loop.failed if closed else 0
    return LoopRow(
        run=run.id,
        step=run.step,
        total=loop.total,
        issued=loop.cursor,
        done=loop.done,
        failed=loop.failed,
        cancelled=cancelled,
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
        case Sequence() | Iterable():
            return list(value)
        case _:
            return [value]


def aggregate(results: list[Json], success: int, failed: int) -> dict[str, Json]:
    """Return a loop's result: the items' results in the items' order, and counts."""
    return {"results": results, "stats": {"total": len(results), "success": success, "failed": failed}}
