"""`advance`: the one function that moves an execution on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from noetl.engine import loops
from noetl.engine.inputs import Broken, Cancel, Done, Failed, Input, Start, Wake, Withdrawn
from noetl.engine.outcome import Finish, Outcome
from noetl.engine.plan import Plan
from noetl.engine.routing import Visit, follow, occur
from noetl.engine.scope import Known, lookup
from noetl.engine.state import TERMINAL, Run, State
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
    if turn.next_run != 1:
        raise IllegalInput("the execution has started")
    workload = {**turn.plan.playbook.workload, **given.payload}
    turn.known.payload = given.payload
    turn.known.workload = workload
    turn.event("playbook.initialized", status="RUNNING")
    turn.event("workflow.initialized", status="RUNNING")
    try:
        names = frozenset(root for root, _ in turn.plan.starting) | {"workload"}
        scope = lookup(turn.known, turn.at, names)
        own = {key: turn.plan.templates.render(value, scope) for key, value in turn.plan.playbook.workload.items() if key not in given.payload}
        turn.workload = {key: own.get(key, value) for key, value in workload.items()}
    except NoetlError as error:
        turn.workload = workload
        turn.fail({"message": f"workload: {error.message}", "type": error.code})
        return
    turn.known.workload = turn.workload
    turn.entering.append(Entry("start", given.payload))


def _done(turn: Turn, given: Done) -> None:
    run = turn.run(given.run)
    visit = Visit(run, given.command, given.item, given.result, fired={*run.fired, *given.fired}, routed=run.routed)
    turn.event("call.done", run, item=given.item, command=given.command, status="COMPLETED")
    _item_or_run(turn, visit, given.item)
    occur(turn, visit, "call.done")
    turn.event("step.exit", run, item=given.item, command=given.command, status="COMPLETED")
    occur(turn, visit, "step.exit")
    turn.finished.append(Finish(given.command, "done", result=visit.override))
    if given.item is not None:
        loops.finish_item(turn, turn.run(run.id), failed=False)
        return
    turn.finish(run, visit.result, ("command", given.command))
    if not visit.routed and turn.failure is None:
        follow(turn, visit)


def _failed(turn: Turn, given: Failed) -> None:
    run = turn.run(given.run)
    visit = Visit(run, given.command, given.item, error=given.error, fired={*run.fired, *given.fired}, routed=run.routed)
    _item_or_run(turn, visit, given.item)
    turn.event("call.error", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    occur(turn, visit, "call.error")
    turn.event("step.exit", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    occur(turn, visit, "step.exit")
    turn.finished.append(Finish(given.command, "failed", error=given.error))
    if not (visit.routed or (given.item is not None and visit.matched)):
        turn.fail(given.error, run.step)
    if given.item is not None:
        loops.finish_item(turn, turn.run(run.id), failed=True)
    else:
        turn.finish(run, None, None)


def _item_or_run(turn: Turn, visit: Visit, item: int | None) -> None:
    if (item is None) != (visit.run.loop is None):
        raise IllegalInput(f"run {visit.run.id} of step {visit.run.step}: item {item} does not fit")


def _withdrawn(turn: Turn, given: Withdrawn) -> None:
    if turn.failure is None:
        raise IllegalInput("nothing was withdrawn: the execution has not failed")
    for run_id, number in given.counts.items():
        run = turn.runs.get(run_id)
        if run is None:
            continue
        if run.loop is None:
            del turn.runs[run_id]
        else:
            turn.runs[run_id] = replace(run, loop=replace(run.loop, live=run.loop.live - number))


def _wake(turn: Turn) -> None:
    if turn.failure is None:
        loops.proceed(turn)
    elif turn.deadline is not None and turn.at >= turn.deadline:
        _end(turn, "FAILED")


def _cancel(turn: Turn, given: Cancel) -> None:
    turn.fail({"message": f"cancelled: {given.reason}" if given.reason else "cancelled", "type": "cancelled"})
    _end(turn, "CANCELLED")


def _broken(turn: Turn, given: Broken) -> None:
    run = turn.runs.get(given.run) if given.run is not None else None
    if turn.next_run == 1:
        turn.event("playbook.initialized", status="RUNNING")
    if run is None or given.command is None:
        turn.fail(given.error)
        return
    turn.event("call.error", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    turn.event("step.exit", run, item=given.item, command=given.command, status="FAILED", error=given.error)
    turn.finished.append(Finish(given.command, "failed", error=given.error))
    turn.fail(given.error, run.step)
    if given.item is not None:
        loops.finish_item(turn, run, failed=True)
    else:
        turn.finish(run, None, None)


def _enter(turn: Turn, entry: Entry) -> None:
    turn.entered += 1
    if turn.entered > ENTER_LIMIT:
        turn.fail({"message": f"step {entry.step} was entered {ENTER_LIMIT} times without any work in between", "type": "endless"}, entry.step)
        return
    if entry.step == "end" and not turn.end_ran:
        turn.end_args = {**(turn.end_args or {}), **entry.args}
        turn.end_loop_results = turn.end_loop_results or entry.loop_results
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
    elif turn.failure is None:
        turn.runs[run.id] = replace(run, routed=visit.routed, fired=tuple(sorted(visit.fired)))
        turn.command(run, None, entry.args, tuple(sorted(visit.fired)), entry.loop_results)


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
        turn.end_args = None
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


def _end(turn: Turn, status: Any) -> None:
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
