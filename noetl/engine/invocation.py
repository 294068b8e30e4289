"""The end of one invocation: its command's row, its run or its item, and on."""

from __future__ import annotations

from noetl.engine import loops
from noetl.engine.outcome import Finish
from noetl.engine.routing import follow, occur
from noetl.engine.turn import Turn
from noetl.engine.value import Value
from noetl.engine.visit import Visit


def leave(turn: Turn, visit: Visit) -> None:
    """The invocation is final: `step.exit`, then its end."""
    status = "COMPLETED" if visit.error is None else "FAILED"
    turn.event("step.exit", visit.run, item=visit.item, command=visit.command, status=status, error=visit.error)
    if occur(turn, visit, "step.exit"):
        finish(turn, visit)


def finish(turn: Turn, visit: Visit) -> None:
    """End an invocation: its command's row, its run or its item, and on."""
    run, error = visit.run, visit.error
    if error is not None and not visit.handled:
        turn.fail(error, run.step)
    if visit.command is not None:
        if not visit.ended:
            turn.finished.append(Finish(visit.command, "done" if error is None else "failed", visit.override, error))
        elif visit.item is not None and error is not None:
            turn.amended[visit.command] = Value.of(None)
        elif visit.override is not None:
            turn.amended[visit.command] = visit.override
    if visit.item is not None:
        loops.finish_item(turn, run, failed=error is not None)
        return
    kept = error is None or visit.override is not None or visit.unwritten
    place = ("command", visit.command) if visit.command is not None and kept else None
    turn.finish(run, visit.result, place)
    if error is None and not visit.routed and not turn.failed_here:
        follow(turn, visit)
    if turn.failed_here:
        turn.entering.clear()
        turn.leave(run)
