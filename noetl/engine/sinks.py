"""Sinks: commands of their own, issued once the call is recorded, so that a worker's death never repeats the call for a sink's sake."""

from __future__ import annotations

from noetl.engine.memo import SinkPoint
from noetl.engine.outcome import Command, Finish
from noetl.engine.turn import Turn
from noetl.engine.visit import Visit
from noetl.playbook.model import Rule, Sink, Step


def of(rule: Rule) -> list[Sink]:
    """Return a rule's sinks in their order."""
    return [action for action in rule.then if isinstance(action, Sink)]


def at(step: Step, point: SinkPoint) -> Sink:
    """Return the sink of a step that a command is for."""
    return of(step.rules[point.rule])[point.number]


def issue(turn: Turn, visit: Visit, index: int, rule: Rule, event: str, number: int) -> bool:
    """Issue one of a rule's sinks and end the call's command; return whether there is such a sink."""
    if number >= len(of(rule)):
        return False
    run = visit.run
    if event == "step.enter":
        turn.fail({"message": f"step {run.step}: a sink at step.enter has nothing to write", "type": "sink"}, run.step)
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
