"""What a Wake does: loops go on, runs out of time are stopped, `output` and `on_failure` have their turn when nothing runs."""

from __future__ import annotations

from dataclasses import replace

from noetl.engine import loops
from noetl.engine.ending import abandon
from noetl.engine.invocation import leave
from noetl.engine.routing import occur
from noetl.engine.scope import lookup
from noetl.engine.state import Run
from noetl.engine.turn import Entry, Turn
from noetl.engine.value import dumps
from noetl.engine.visit import Visit
from noetl.errors import NoetlError
from noetl.playbook.uses import names

MAX_OUTPUT = 4 * 1024 * 1024
"""Bytes that the output of a playbook may have."""


def wake(turn: Turn) -> None:
    """Do what has been waiting for this moment."""
    if turn.failure is not None:
        if not turn.runs:
            _rescue(turn)
        elif turn.deadline is not None and turn.at >= turn.deadline:
            abandon(turn)
        return
    if not turn.runs:
        _conclude(turn)
        return
    if turn.paused is not None:
        return
    if turn.plan.timed:
        _stop_overdue(turn)
    loops.proceed(turn)


def _rescue(turn: Turn) -> None:
    """Enter the step that the playbook names for its failure. It may go on to others; the execution has failed all the same."""
    target = turn.plan.playbook.on_failure
    if target is None:
        return
    turn.cause = turn.view.cause = turn.failure
    turn.failure = turn.deadline = turn.owed = turn.end_args = turn.end_loop_results = None
    turn.end_ran = False
    turn.event("failure.handling", error=turn.cause)
    try:
        args = turn.plan.templates.render(dict(target.args), lookup(turn.view, {root for root, _ in names(dict(target.args))}))
    except NoetlError as error:
        turn.fail(error.as_error("on_failure: "))
        return
    turn.entering.append(Entry(target.step, args))


def _conclude(turn: Turn) -> None:
    """Render the playbook's output, now that nothing runs."""
    output = turn.plan.playbook.output
    try:
        turn.output = turn.plan.templates.render(output, lookup(turn.view, {root for root, _ in names(output)}))
        size = len(dumps(turn.output))
    except NoetlError as error:
        turn.fail(error.as_error("output: "))
        return
    if size > MAX_OUTPUT:
        turn.output = None
        hint = "write large data to a table or a file, and let `output` say where it is"
        turn.fail({"message": f"output: it has {size} bytes; at most {MAX_OUTPUT} are possible", "type": "too_large", "hint": hint})
        return
    turn.concluded = True


def _stop_overdue(turn: Turn) -> None:
    """Stop the runs that are out of time: their commands are revoked, and their steps have failed."""
    for run in list(turn.runs.values()):
        if turn.failing:
            return
        if run.until is not None and turn.at >= run.until:
            _stop(turn, run)


def _stop(turn: Turn, run: Run) -> None:
    turn.stopped.append(run.id)
    if run.loop is not None:
        loops.count(turn, run.with_loop(run.loop.withdraw(run.loop.live)), closed=True)
    run = replace(run, loop=None, suspended=False, until=None)
    turn.runs[run.id] = run
    plan = turn.step(run)
    hint = "raise `timeout.total` of the step, or let it do less: calls, delays between attempts, pages and items count together"
    error = {"message": f"step {run.step} took longer than {plan.step.timeout.total:g} s in all", "type": "timeout", "hint": hint}
    routed = run.routed or not plan.routing_rules.isdisjoint(run.fired)
    visit = Visit(run, error=error, fired=set(run.fired), routed=routed, unwritten=True)
    turn.event("call.error", run, status="FAILED", error=error)
    if occur(turn, visit, "call.error"):
        leave(turn, visit)
