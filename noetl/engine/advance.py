"""`advance`: the one function that moves an execution on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from noetl.engine import loops
from noetl.engine.ending import drop, end, settle
from noetl.engine.inputs import Broken, Cancel, Continue, Done, Failed, Input, Pause, Resume, Start, Wake, Withdrawn
from noetl.engine.invocation import finish, leave
from noetl.engine.memo import SinkPoint
from noetl.engine.outcome import Finish, Outcome
from noetl.engine.plan import Plan
from noetl.engine.routing import carry_on, occur
from noetl.engine.scope import Known, lookup
from noetl.engine.state import TERMINAL, Paused, Run, State
from noetl.engine.turn import Entry, IllegalInput, Turn
from noetl.engine.visit import Visit
from noetl.engine.waking import wake
from noetl.errors import NoetlError

Json = Any


def advance(plan: Plan, state: State, given: Input, known: Known) -> Outcome:
    """Return what follows from an input. An input that has no place raises IllegalInput and changes nothing."""
    if state.status in TERMINAL:
        raise IllegalInput(f"the execution is {state.status}")
    if (state.next_event == 1) != isinstance(given, Start | Continue) and not isinstance(given, Cancel | Broken):
        raise IllegalInput("the execution has started" if isinstance(given, Start | Continue) else "the execution has not started")
    turn = Turn(plan, state, known, given.at)
    match given:
        case Start():
            _start(turn, given)
        case Continue():
            _continue_earlier(turn, given)
        case Done():
            _done(turn, given)
        case Failed():
            _failed(turn, given)
        case Withdrawn():
            _withdrawn(turn, given)
        case Wake():
            wake(turn)
        case Cancel():
            _cancel(turn, given)
        case Pause():
            _pause(turn, given)
        case Resume():
            _go_on(turn, given)
        case Broken():
            _broken(turn, given)
        case _:
            assert_never(given)
    settle(turn)
    return turn.outcome()


def _start(turn: Turn, given: Start) -> None:
    own = turn.plan.playbook.workload
    workload = {**own, **given.payload}
    turn.view.payload = given.payload
    turn.view.workload = workload
    turn.event("playbook.initialized", status="RUNNING")
    turn.event("workflow.initialized", status="RUNNING")
    if _workload(turn, workload, {key: value for key, value in own.items() if key not in given.payload}):
        turn.entering.append(Entry("start", {}))
    else:
        turn.leave_entry(Entry("start", {}))


def _workload(turn: Turn, workload: Mapping[str, Json], templates: Mapping[str, Json]) -> bool:
    """Make the workload, in which the values of some keys are rendered, each after those that it reads; return whether they could be."""
    turn.workload = workload
    written = {**workload, **templates}
    known = {key: value for key, value in written.items() if key not in templates or key not in turn.plan.workload_order}
    turn.view.workload = known
    try:
        roots = {root for root, _ in turn.plan.starting}
        for key in turn.plan.workload_order:
            if key in templates:
                known[key] = turn.plan.templates.render(templates[key], lookup(turn.view, roots))
        turn.workload = {key: known[key] for key in written}
    except NoetlError as error:
        turn.fail(error.as_error("workload: "))
        return False
    turn.view.workload = turn.workload
    return True


def _continue_earlier(turn: Turn, given: Continue) -> None:
    """Begin where an earlier execution ended: enter steps, and take loops up with what is left of them."""
    if turn.next_event != 1:
        raise IllegalInput("the execution has started")
    again = list(dict.fromkeys(point.step for point in given.points))
    turn.event("playbook.initialized", status="RUNNING")
    turn.event("playbook.continued", status="RUNNING", detail={"continues": given.earlier, "again": again})
    # A later version of the playbook may have values in its workload that the earlier one had not.
    fresh = {key: value for key, value in turn.plan.playbook.workload.items() if key not in turn.view.workload}
    if fresh and not _workload(turn, turn.view.workload, fresh):
        for point in given.points:
            turn.leave_entry(Entry(point.step, point.args, point.loop_results))
        return
    for point in given.points:
        if point.run is None or point.loop is None:
            turn.entering.append(Entry(point.step, point.args, point.loop_results))
            continue
        total = turn.plan.steps[point.step].step.timeout.total
        run = Run(point.run, point.step, loop=point.loop, until=None if total is None else turn.at + total)
        loops.take_up(turn, run, Entry(point.step, point.args, point.loop_results))


def _done(turn: Turn, given: Done) -> None:
    run = _run_of(turn, given.run, given.item, given.sink)
    if given.sink is not None:
        turn.event("sink.executed", run, item=given.item, command=given.command, status="COMPLETED")
        turn.finished.append(Finish(given.command, "done"))
        _resume(turn, run, given, given.sink)
        return
    visit = _visit(turn, run, given)
    visit.response = given.result
    turn.event("call.done", run, item=given.item, command=given.command, status="COMPLETED")
    if occur(turn, visit, "call.done"):
        leave(turn, visit)


def _failed(turn: Turn, given: Failed) -> None:
    run = _run_of(turn, given.run, given.item, given.sink)
    visit = _visit(turn, run, given)
    visit.error = given.error
    if given.sink is not None:
        turn.event("sink.failed", run, item=given.item, command=given.command, status="FAILED", error=given.error)
        turn.finished.append(Finish(given.command, "failed", error=given.error))
        _continue(visit, given.sink)
        visit.handled, visit.attempt, visit.sink, visit.unwritten = False, given.attempt, given.sink, True
        if given.sink.event == "loop.done":
            turn.fail(given.error, run.step)
            drop(turn, run)
            return
    turn.event("call.error", run, item=given.item, command=visit.command, status="FAILED", error=given.error)
    if occur(turn, visit, "call.error"):
        leave(turn, visit)


def _resume(turn: Turn, run: Run, given: Done, point: SinkPoint) -> None:
    """Go on where a sink has interrupted: with the rest of its rule, then with what comes after its event."""
    if point.event == "loop.done":
        run = replace(run, suspended=False)
        visit = loops.closing(turn, run)
        visit.response = given.response
    else:
        visit = _visit(turn, run, given)
        visit.error, visit.unwritten = point.problem or given.problem, point.problem is not None
        visit.response = given.response if visit.error is None else None
    _continue(visit, point)
    visit.override = given.response if point.replaced else None
    if not carry_on(turn, visit, point.rule, point.event, point.number + 1):
        return
    if point.event == "loop.done":
        loops.closed(turn, visit)
    elif point.event == "step.exit":
        finish(turn, visit)
    else:
        leave(turn, visit)


def _continue(visit: Visit, point: SinkPoint) -> None:
    """Make a visit that of the call which a sink belongs to."""
    visit.fired.update(point.fired)
    visit.command = point.command or None
    visit.paging, visit.attempt, visit.collected, visit.ended = point.paging, point.attempt, point.collected, True
    visit.routed, visit.handled = point.routed, point.handled


def _run_of(turn: Turn, run_id: int, item: int | None, sink: SinkPoint | None = None) -> Run:
    """Return the run that an input is about; raise IllegalInput unless the input fits what the run waits for."""
    run = turn.run(run_id)
    loop = run.loop
    if run.suspended or (sink is not None and sink.event == "loop.done"):
        fits = run.suspended and sink is not None and sink.event == "loop.done"
    else:
        fits = (
            item is None if loop is None else item is not None and 0 <= item < (loop.total if loop.redo else loop.cursor) and loop.live > 0
        )
    if not fits:
        raise IllegalInput(f"run {run.id} of step {run.step} does not wait for {'its end' if item is None else f'item {item}'}")
    return run


def _visit(turn: Turn, run: Run, given: Done | Failed) -> Visit:
    visit = Visit(run, given.item, given.command, routed=run.routed, args=given.args, came_with=given.loop_results)
    visit.attempt, visit.paging, visit.collected, visit.entered = given.attempt, given.paging, given.paging.collected, given.fired
    if run.fired or given.fired:
        visit.fired.update(run.fired, given.fired)
        if given.sink is None:
            visit.routed = visit.routed or not visit.fired.isdisjoint(turn.step(run).routing_rules)
    return visit


def _withdrawn(turn: Turn, given: Withdrawn) -> None:
    if turn.owed is None or given.owed != turn.owed:
        raise IllegalInput("no such withdrawal is owed: it was told before, or the execution has not failed")
    turn.owed = None
    for run_id, number in given.counts.items():
        run = turn.runs.get(run_id)
        if run is None:
            continue
        if number > run.waits_for:
            raise IllegalInput(f"run {run_id} of step {run.step} has not had {number} commands to withdraw")
        if run.loop is None or run.suspended:
            drop(turn, run)
        else:
            turn.runs[run_id] = run.with_loop(run.loop.withdraw(number))


def _cancel(turn: Turn, given: Cancel) -> None:
    turn.fail({"message": f"cancelled: {given.reason}" if given.reason else "cancelled", "type": "cancelled"})
    end(turn, "CANCELLED")


def _pause(turn: Turn, given: Pause) -> None:
    if turn.paused is not None:
        raise IllegalInput("the execution is PAUSED")
    if turn.failure is not None:
        raise IllegalInput("the execution has failed, and only waits for what is in flight")
    turn.status, turn.paused = "PAUSED", Paused(given.at, given.reason, given.by)
    detail = {name: value for name, value in (("reason", given.reason), ("parent", given.by)) if value}
    turn.event("playbook.paused", status="PAUSED", detail=detail or None)


def _go_on(turn: Turn, given: Resume) -> None:
    """Go on after a pause. One that came from a parent ends with the parent's, and one that did not ends by itself."""
    if turn.paused is None:
        raise IllegalInput("the execution is not PAUSED")
    if turn.paused.by != given.by:
        raise IllegalInput(f"the execution was paused by {turn.paused.by or 'itself'}")
    seconds = max(0.0, given.at - turn.paused.at)
    turn.status, turn.paused = "RUNNING", None
    if turn.plan.timed:
        turn.runs = {run.id: run if run.until is None else replace(run, until=run.until + seconds) for run in turn.runs.values()}
    turn.event("playbook.resumed", status="RUNNING", detail={"seconds": round(seconds, 3)})


def _broken(turn: Turn, given: Broken) -> None:
    if turn.next_event == 1:
        turn.event("playbook.initialized", status="RUNNING")
    if given.run is None or given.command is None:
        turn.fail(given.error)
        return
    run = _run_of(turn, given.run, given.item, given.sink)
    turn.event("call.error", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    turn.event("step.exit", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    turn.fail(given.error, run.step)
    turn.finished.append(Finish(given.command, "failed", error=given.error))
    if given.item is not None:
        loops.finish_item(turn, run, failed=True)
    elif run.suspended:
        drop(turn, run)
    else:
        turn.finish(run, None, None)
        turn.leave(run)
