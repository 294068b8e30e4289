"""Entering steps: a new run for each transition, skipped where its `when` does not hold."""

from __future__ import annotations

from dataclasses import replace

from noetl.engine import loops, pages
from noetl.engine.invocation import leave
from noetl.engine.routing import follow, occur
from noetl.engine.scope import lookup
from noetl.engine.state import Run
from noetl.engine.turn import ENTER_LIMIT, Entry, Turn
from noetl.engine.value import Value
from noetl.engine.visit import Visit
from noetl.errors import NoetlError


def enter(turn: Turn, entry: Entry) -> None:
    """Enter a step: `end` waits until every other branch is through."""
    turn.entered += 1
    if turn.entered > ENTER_LIMIT:
        message = f"step {entry.step} was entered when {ENTER_LIMIT} steps had been, without any work in between"
        hint = "mend the `next` that leads back to it, or let a step with a tool be between"
        turn.fail({"message": message, "type": "endless", "hint": hint}, entry.step)
        return
    if entry.step == "start":
        entry = Entry("start", {**turn.view.payload, **entry.args}, entry.loop_results)
    if entry.step == "end" and not turn.end_ran:
        turn.end_args = {**(turn.end_args or {}), **entry.args}
        turn.end_loop_results = turn.end_loop_results if entry.loop_results is None else entry.loop_results
        return
    if entry.step != "end":
        open_run(turn, entry)


def open_run(turn: Turn, entry: Entry) -> None:
    """Begin a run: call its tool, issue its loop's first items, or pass through it."""
    plan = turn.plan.steps[entry.step]
    step, total = plan.step, plan.step.timeout.total
    run = Run(turn.next_run, entry.step, until=None if total is None else turn.at + total)
    turn.next_run += 1
    if step.when is not None and not _applies(turn, run, entry):
        _skip(turn, run, entry)
        return
    turn.runs[run.id] = run
    if step.loop is not None and step.tool is not None:
        loops.open_loop(turn, run, entry)
        return
    visit = Visit(run, args=entry.args, came_with=entry.loop_results)
    pages.reset(turn, step)
    turn.event("step.enter", run, command=turn.next_command if step.tool else None)
    occur(turn, visit, "step.enter")
    if step.tool is None:
        _pass(turn, visit)
    elif turn.failure is not None:
        del turn.runs[run.id]
        turn.leave_entry(entry)
    else:
        fired = tuple(sorted(visit.fired))
        if fired:
            turn.runs[run.id] = replace(run, routed=visit.routed, fired=fired)
        turn.command(run, None, entry.args, fired, entry.loop_results)


def _pass(turn: Turn, visit: Visit) -> None:
    """Finish a step that does nothing: its result is null."""
    visit.response = Value.of(None)
    turn.event("call.done", visit.run, status="COMPLETED")
    if occur(turn, visit, "call.done"):
        leave(turn, visit)


def _applies(turn: Turn, run: Run, entry: Entry) -> bool:
    """Whether a step's `when` holds; one that cannot be rendered does not."""
    plan = turn.step(run)
    try:
        args = loops.args_of(turn, entry, plan)
    except NoetlError:
        return False
    return turn.plan.templates.truth(plan.step.when, {**lookup(turn.view, plan.entering_roots), **args, "args": args})


def _skip(turn: Turn, run: Run, entry: Entry) -> None:
    """Go on as if the step were not there: no tool, no rules, only its structural transition."""
    turn.event("step.skipped", run, status="SKIPPED")
    follow(turn, Visit(run, args=entry.args))
