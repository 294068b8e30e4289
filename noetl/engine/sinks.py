"""Sinks: commands of their own, issued once the call is recorded, so that a worker's death never repeats the call for a sink's sake."""

from __future__ import annotations

from noetl.engine.memo import SinkPoint
from noetl.engine.outcome import Command, Finish
from noetl.engine.turn import Turn
from noetl.engine.visit import Visit
from noetl.playbook.model import Sink, Step
from noetl.playbook.sinks import sinks_of


def of(step: Step, rule: int, event: str) -> list[Sink]:
    """Return the sinks at an event in their order: those of a rule (-1 for none), and after a successful call that of the tool's entry."""
    found = sinks_of(step, rule)
    return found if event == "call.done" or step.tool is None or step.tool.sink is None else found[:-1]


def at(step: Step, point: SinkPoint) -> Sink:
    """Return the sink of a step that a command is for."""
    return of(step, point.rule, point.event)[point.number]


def issue(turn: Turn, visit: Visit, index: int, event: str, number: int) -> bool:
    """Issue one of an event's sinks and end the call's command; return whether there is such a sink."""
    run = visit.run
    found = of(turn.step(run).step, index, event)
    if number >= len(found):
        return False
    if event == "step.enter":
        if found[number].tool.kind == "event":
            turn.event("sink.executed", run, item=visit.item, status="COMPLETED")
            return issue(turn, visit, index, event, number + 1)
        hint = "write it at call.done: when: \"{{ event.name == 'call.done' }}\""
        turn.fail({"message": f"step {run.step}: a sink at step.enter has nothing to write", "type": "sink", "hint": hint}, run.step)
        return False
    if visit.command is not None and not visit.ended:
        turn.finished.append(Finish(visit.command, "failed" if visit.error is not None else "done", visit.override, visit.error))
    elif visit.command is not None and visit.override is not None:
        turn.amended[visit.command] = visit.override
    point = SinkPoint(
        visit.command or 0,
        event,
        index,
        number,
        visit.paging,
        visit.attempt,
        visit.collected,
        visit.routed,
        visit.handled,
        tuple(sorted(visit.fired)),
        visit.override is not None,
        visit.error if visit.unwritten else None,
    )
    turn.issue(Command(turn.next_command, run.id, run.step, visit.item, visit.args, visit.entered, visit.came_with, sink=point))
    if event == "loop.done":
        turn.runs[run.id] = run.suspend()
    return True


def again(turn: Turn, visit: Visit, point: SinkPoint, wait: float) -> None:
    """Issue a sink that has failed once more; the call that it belongs to is not repeated."""
    run, attempt = visit.run, visit.attempt + 1
    turn.issue(
        Command(turn.next_command, run.id, run.step, visit.item, visit.args, visit.entered, visit.came_with, attempt, wait, sink=point)
    )
