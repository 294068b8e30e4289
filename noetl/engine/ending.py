"""How executions end: settled when nothing runs and nothing waits, given up when a failure's time is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.engine import loops
from noetl.engine.entering import enter, open_run
from noetl.engine.state import TERMINAL, Run, Status
from noetl.engine.turn import Entry, Turn

Json = Any
FAILURE_BOUND = 30.0
"""Seconds that steps in flight have to finish after an unhandled failure."""


def settle(turn: Turn) -> None:
    """Enter what is to be entered, and end the execution when nothing runs and nothing waits."""
    if turn.status in TERMINAL:
        return
    while True:
        while turn.entering and turn.failure is None:
            enter(turn, turn.entering.popleft())
        if turn.failure is not None:
            _settle_failure(turn)
            return
        if turn.runs:
            break
        if turn.end_args is None or turn.end_ran:
            _complete(turn)
            return
        turn.end_ran = True
        open_run(turn, Entry("end", turn.end_args, turn.end_loop_results))
        turn.end_args = turn.end_loop_results = None
    if turn.paused is not None:
        return
    if loops.pending(turn):
        turn.wake = 0
    elif turn.plan.timed:
        turn.wake = min((run.until for run in turn.runs.values() if run.until is not None), default=None)


def _complete(turn: Turn) -> None:
    """End it COMPLETED; where the playbook has an `output`, a Wake has to bring what that reads first."""
    if turn.plan.playbook.output is None or turn.concluded or turn.cause is not None:
        end(turn, "COMPLETED")
    else:
        turn.wake = 0


def _settle_failure(turn: Turn) -> None:
    for entry in turn.entering:
        turn.leave_entry(entry)
    turn.entering.clear()
    # After the failure nothing is issued but what a run in flight still has to do: its sinks and pages.
    issued = {command.run: command for command in turn.commands if command.item is None} if turn.before.failure is None else {}
    turn.commands = [command for command in turn.commands if command.run not in issued]
    for run in list(turn.runs.values()):
        if run.loop is not None and run.loop.live == 0 and not run.suspended:
            loops.drop(turn, run)
        elif run.id in issued and run.loop is None:
            # Nobody has stored its command, from which its args could be read.
            del turn.runs[run.id]
            turn.leave_entry(Entry(run.step, issued[run.id].args, issued[run.id].loop_results))
        elif run.id in issued:
            drop(turn, run)
    if not turn.runs:
        if turn.cause is None and turn.plan.playbook.on_failure is not None:
            turn.deadline, turn.wake = None, 0
        else:
            end(turn, "FAILED")
        return
    if turn.before.failure is None:
        turn.withdraw, turn.owed = True, turn.next_event
        turn.deadline = turn.at + FAILURE_BOUND
    turn.wake = turn.deadline


def end(turn: Turn, status: Status) -> None:
    """End the execution. What `on_failure` was entered for stays the failure that is told."""
    turn.entering.clear()
    turn.commands.clear()
    abandon(turn)
    if turn.cause is not None and status != "CANCELLED":
        status = "FAILED"
        turn.failure = {**turn.cause, **({"on_failure": turn.failure} if turn.failure is not None else {})}
    turn.status, turn.paused = status, None
    turn.deadline = turn.wake = turn.owed = None
    error: Mapping[str, Json] | None = turn.failure
    verb = {"COMPLETED": "completed", "FAILED": "failed", "CANCELLED": "cancelled"}[status]
    turn.event(f"workflow.{verb}", status=status, error=error)
    turn.event(f"playbook.{verb}", status=status, error=error)


def drop(turn: Turn, run: Run) -> None:
    """Take a run off that has nothing more to wait for."""
    if run.loop is not None:
        loops.drop(turn, run)
    else:
        del turn.runs[run.id]
        turn.leave(run)


def abandon(turn: Turn) -> None:
    """Take everything off that still runs; its commands are revoked."""
    turn.revoke |= bool(turn.runs)
    for run in list(turn.runs.values()):
        if run.loop is not None:
            loops.drop(turn, run)
        else:
            turn.leave(run)
    turn.runs.clear()
