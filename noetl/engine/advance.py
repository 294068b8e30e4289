"""`advance`: the one function that moves an execution on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from noetl.engine import loops
from noetl.engine.inputs import Broken, Cancel, Done, Failed, Input, Start, Wake, Withdrawn
from noetl.engine.outcome import Finish, Outcome
from noetl.engine.plan import Plan
from noetl.engine.routing import Visit, follow, occur
from noetl.engine.scope import Known, lookup
from noetl.engine.state import TERMINAL, Run, State, Status
from noetl.engine.turn import ENTER_LIMIT, Entry, IllegalInput, Turn
from noetl.engine.value import Value
from noetl.errors import NoetlError

Json = Any
FAILURE_BOUND = 30.0
"""Seconds that steps in flight have to finish after an unhandled failure."""


def advance(plan: Plan, state: State, given: Input, known: Known) -> Outcome:
    """Return what follows from an input. An input that has no place raises IllegalInput and changes nothing."""
    if state.status in TERMINAL:
        raise IllegalInput(f"the execution is {state.status}")
    if (state.next_run == 1) != isinstance(given, Start) and not isinstance(given, Cancel | Broken):
        raise IllegalInput("the execution has started" if isinstance(given, Start) else "the execution has not started")
    turn = Turn(plan, state, known, given.at)
    match given:
        case Start():
            _start(turn, given)
        case Done():
            _done(turn, given)
        case Failed():
            _failed(turn, given)
        case Withdrawn():
            _withdrawn(turn, given)
        case Wake():
            _wake(turn)
        case Cancel():
            _cancel(turn, given)
        case Broken():
            _broken(turn, given)
        case _:
            assert_never(given)
    _settle(turn)
    return turn.outcome()


def _start(turn: Turn, given: Start) -> None:
    own = turn.plan.playbook.workload
    workload = {**own, **given.payload}
    turn.view.payload = given.payload
    turn.view.workload = workload
    turn.event("playbook.initialized", status="RUNNING")
    turn.event("workflow.initialized", status="RUNNING")
    try:
        scope = lookup(turn.view, {root for root, _ in turn.plan.starting})
        rendered = {key: turn.plan.templates.render(value, scope) for key, value in own.items() if key not in given.payload}
        turn.workload = {**workload, **rendered}
    except NoetlError as error:
        turn.workload = workload
        turn.fail({"message": f"workload: {error.message}", "type": error.code})
        return
    turn.view.workload = turn.workload
    turn.entering.append(Entry("start", {}))


def _done(turn: Turn, given: Done) -> None:
    run = _run_of(turn, given.run, given.item)
    visit = _visit(turn, run, given)
    visit.response = given.result
    turn.event("call.done", run, item=given.item, command=given.command, status="COMPLETED")
    occur(turn, visit, "call.done")
    turn.event("step.exit", run, item=given.item, command=given.command, status="COMPLETED")
    occur(turn, visit, "step.exit")
    turn.finished.append(Finish(given.command, "done", result=visit.override))
    if given.item is not None:
        loops.finish_item(turn, run, failed=False)
        return
    turn.finish(run, visit.result, ("command", given.command))
    if not visit.routed and turn.failure is None:
        follow(turn, visit)


def _failed(turn: Turn, given: Failed) -> None:
    run = _run_of(turn, given.run, given.item)
    visit = _visit(turn, run, given)
    visit.error = given.error
    turn.event("call.error", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    occur(turn, visit, "call.error")
    turn.event("step.exit", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    occur(turn, visit, "step.exit")
    if not visit.handled:
        turn.fail(given.error, run.step)
    _end_failed(turn, run, given.command, given.item, given.error, visit.override)


def _end_failed(turn: Turn, run: Run, command: int, item: int | None, error: Mapping[str, Json], instead: Value | None = None) -> None:
    """End a failed invocation. `instead` is the result that a rule gave to a run in place of the one that it did not get."""
    if item is not None:
        turn.finished.append(Finish(command, "failed", error=error))
        loops.finish_item(turn, run, failed=True)
    else:
        turn.finished.append(Finish(command, "failed", result=instead, error=error))
        turn.finish(run, instead, ("command", command) if instead is not None else None)


def _run_of(turn: Turn, run_id: int, item: int | None) -> Run:
    """Return the run that an input is about; raise IllegalInput unless the input fits what the run waits for."""
    run = turn.run(run_id)
    loop = run.loop
    fits = item is None if loop is None else item is not None and 0 <= item < loop.cursor and loop.live > 0
    if not fits:
        raise IllegalInput(f"run {run.id} of step {run.step} does not wait for {'its end' if item is None else f'item {item}'}")
    return run


def _visit(turn: Turn, run: Run, given: Done | Failed) -> Visit:
    visit = Visit(run, given.item, routed=run.routed)
    if run.fired or given.fired:
        visit.fired.update(run.fired, given.fired)
        visit.routed = visit.routed or not visit.fired.isdisjoint(turn.step(run).routing_rules)
    return visit


def _withdrawn(turn: Turn, given: Withdrawn) -> None:
    if turn.failure is None:
        raise IllegalInput("nothing was withdrawn: the execution has not failed")
    for run_id, number in given.counts.items():
        run = turn.runs.get(run_id)
        if run is None:
            continue
        if number > (run.loop.live if run.loop else 1):
            raise IllegalInput(f"run {run_id} of step {run.step} has not had {number} commands to withdraw")
        if run.loop is None:
            del turn.runs[run_id]
        else:
            turn.runs[run_id] = run.with_loop(run.loop.withdraw(number))


def _wake(turn: Turn) -> None:
    if turn.failure is None:
        loops.proceed(turn)
    elif turn.deadline is not None and turn.at >= turn.deadline:
        _end(turn, "FAILED")


def _cancel(turn: Turn, given: Cancel) -> None:
    turn.fail({"message": f"cancelled: {given.reason}" if given.reason else "cancelled", "type": "cancelled"})
    _end(turn, "CANCELLED")


def _broken(turn: Turn, given: Broken) -> None:
    if turn.next_run == 1:
        turn.event("playbook.initialized", status="RUNNING")
    if given.run is None or given.command is None:
        turn.fail(given.error)
        return
    run = _run_of(turn, given.run, given.item)
    turn.event("call.error", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    turn.event("step.exit", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    turn.fail(given.error, run.step)
    _end_failed(turn, run, given.command, given.item, given.error)


def _enter(turn: Turn, entry: Entry) -> None:
    turn.entered += 1
    if turn.entered > ENTER_LIMIT:
        message = f"step {entry.step} was entered when {ENTER_LIMIT} steps had been, without any work in between"
        turn.fail({"message": message, "type": "endless"}, entry.step)
        return
    if entry.step == "start":
        entry = Entry("start", {**turn.view.payload, **entry.args}, entry.loop_results)
    if entry.step == "end" and not turn.end_ran:
        turn.end_args = {**(turn.end_args or {}), **entry.args}
        turn.end_loop_results = turn.end_loop_results if entry.loop_results is None else entry.loop_results
        return
    if entry.step != "end":
        _open(turn, entry)


def _open(turn: Turn, entry: Entry) -> None:
    step = turn.plan.steps[entry.step].step
    run = Run(turn.next_run, entry.step)
    turn.next_run += 1
    turn.runs[run.id] = run
    if step.loop is not None and step.tool is not None:
        loops.open_loop(turn, run, entry)
        return
    visit = Visit(run)
    turn.event("step.enter", run, command=turn.next_command if step.tool else None)
    occur(turn, visit, "step.enter")
    if step.tool is None:
        _pass(turn, visit)
    elif turn.failure is not None:
        del turn.runs[run.id]
    else:
        fired = tuple(sorted(visit.fired))
        if fired:
            turn.runs[run.id] = Run(run.id, run.step, visit.routed, fired)
        turn.command(run, None, entry.args, fired, entry.loop_results)


def _pass(turn: Turn, visit: Visit) -> None:
    """Finish a step that does nothing: its result is null."""
    visit.response = Value.of(None)
    turn.event("call.done", visit.run, status="COMPLETED")
    occur(turn, visit, "call.done")
    turn.event("step.exit", visit.run, status="COMPLETED")
    occur(turn, visit, "step.exit")
    turn.finish(visit.run, visit.result, None)
    if not visit.routed and turn.failure is None:
        follow(turn, visit)


def _settle(turn: Turn) -> None:
    if turn.status in TERMINAL:
        return
    while True:
        while turn.entering and turn.failure is None:
            _enter(turn, turn.entering.popleft())
        if turn.failure is not None:
            _settle_failure(turn)
            return
        if turn.runs:
            break
        if turn.end_args is None or turn.end_ran:
            _end(turn, "COMPLETED")
            return
        turn.end_ran = True
        _open(turn, Entry("end", turn.end_args, turn.end_loop_results))
        turn.end_args = turn.end_loop_results = None
    if loops.pending(turn):
        turn.wake = 0


def _settle_failure(turn: Turn) -> None:
    turn.entering.clear()
    issued = {command.run for command in turn.commands if command.item is None}
    turn.commands = [command for command in turn.commands if command.item is not None]
    for run in list(turn.runs.values()):
        if run.loop is not None and run.loop.live == 0:
            loops.drop(turn, run)
        elif run.id in issued:
            del turn.runs[run.id]
    if not turn.runs:
        _end(turn, "FAILED")
        return
    if turn.before.failure is None:
        turn.withdraw = True
        turn.deadline = turn.at + FAILURE_BOUND
    turn.wake = turn.deadline


def _end(turn: Turn, status: Status) -> None:
    turn.entering.clear()
    turn.commands.clear()
    turn.revoke = bool(turn.runs)
    for run in list(turn.runs.values()):
        if run.loop is not None:
            loops.drop(turn, run)
    turn.runs.clear()
    turn.status = status
    turn.deadline = turn.wake = None
    error: Mapping[str, Json] | None = turn.failure
    verb = {"COMPLETED": "completed", "FAILED": "failed", "CANCELLED": "cancelled"}[status]
    turn.event(f"workflow.{verb}", status=status, error=error)
    turn.event(f"playbook.{verb}", status=status, error=error)
