"""One input being worked on: the state as it changes, and what has followed from it so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from noetl.engine.outcome import Command, Event, Finish, LoopRow, Outcome, Page, Variable
from noetl.engine.plan import Plan, StepPlan
from noetl.engine.scope import Known, View
from noetl.engine.state import Left, Run, State
from noetl.engine.value import Value, dumps
from noetl.errors import NoetlError
from noetl.record import record

Json = Any
MAX_VARIABLE = 16 * 1024 * 1024
"""Bytes that a variable may have: all of an execution's are read for what uses one."""
ENTER_LIMIT = 5000
"""How many steps one input may enter before the engine calls it endless; more than a chunk of loop items has."""


class VariableTooLarge(NoetlError):
    """A variable that is larger than one may be."""

    code = "too_large"


class IllegalInput(NoetlError):
    """An input that the state has no place for. Nothing has changed."""

    code = "illegal_input"
    http_status = 409


@record
class Entry:
    """A step that is about to be entered."""

    step: str
    args: Mapping[str, Json]
    loop_results: int | None = None


class Turn:
    """The working copy of a state during one input; `outcome` freezes it."""

    def __init__(self, plan: Plan, state: State, known: Known, at: float) -> None:
        self.plan = plan
        self.at = at
        self.view = View(known, at)
        self.before = state
        self.status = state.status
        self.runs: dict[int, Run] = dict(state.runs)
        self.next_run, self.next_command, self.next_event = state.next_run, state.next_command, state.next_event
        self.end_args = state.end_args
        self.end_loop_results = state.end_loop_results
        self.end_ran = state.end_ran
        self.failure = state.failure
        self.deadline = state.deadline
        self.last_step = state.last_step
        self.paused = state.paused
        self.cause = self.view.cause = state.cause
        self.output = state.output
        self.owed = state.owed
        self.left: list[Left] = list(state.left)
        self.failed_here = False
        self.entering: deque[Entry] = deque()
        self.entered = 0
        self.commands: list[Command] = []
        self.events: list[Event] = []
        self.finished: list[Finish] = []
        self.variables: dict[str, Variable] = {}
        self.loops: dict[int, LoopRow] = {}
        self.pages: list[Page] = []
        self.amended: dict[int, Value] = {}
        self.results: dict[str, tuple[str, int]] = {}
        self.workload: Mapping[str, Json] | None = None
        self.wake: float | None = None
        self.withdraw = False
        self.revoke = False
        self.stopped: list[int] = []
        self.concluded = False
        self.logs: list[str] = []

    @property
    def failing(self) -> bool:
        """Whether the execution has failed, here or before."""
        return self.failure is not None

    def run(self, run_id: int) -> Run:
        """Return an active run; raise IllegalInput if there is none of that id."""
        if run_id not in self.runs:
            raise IllegalInput(f"run {run_id} is not active")
        return self.runs[run_id]

    def step(self, run: Run) -> StepPlan:
        """Return the plan of a run's step."""
        return self.plan.steps[run.step]

    def event(
        self,
        type: str,
        run: Run | None = None,
        *,
        item: int | None = None,
        command: int | None = None,
        status: str | None = None,
        detail: Json = None,
        error: Mapping[str, Json] | None = None,
    ) -> None:
        """Record an event."""
        step, run_id = (run.step, run.id) if run else (None, None)
        self.events.append(Event(self.next_event, type, self.at, step, run_id, item, command, status, detail, error))
        self.next_event += 1

    def command(self, run: Run, item: int | None, args: Mapping[str, Json], fired: tuple[int, ...], loop_results: int | None) -> None:
        """Issue a command for a run or one of its items."""
        self.issue(Command(self.next_command, run.id, run.step, item, args, fired, loop_results))

    def issue(self, command: Command) -> None:
        """Issue a command whose id is the next one."""
        assert command.id == self.next_command
        self.commands.append(command)
        self.next_command += 1

    def store(self, name: str, value: Json, type: str, step: str) -> None:
        """Set a variable; templates that follow see it. One that is too large raises VariableTooLarge."""
        raw = dumps(value)
        if len(raw) > MAX_VARIABLE:
            raise VariableTooLarge(
                f"the variable {name} would have {len(raw):,} bytes; at most {MAX_VARIABLE:,} are possible",
                "read it from the step's result, or keep it in a file or a table",
            )
        self.variables[name] = Variable(value, type, step, raw)
        self.view.set_variable(name, value)

    def finish(self, run: Run, result: Value | None, place: tuple[str, int] | None) -> None:
        """Take a run off the active ones; its result becomes the step's unless it failed."""
        del self.runs[run.id]
        self.last_step = run.step
        if place is not None:
            self.results[run.step] = place
            self.view.set_result(run.step, result)

    def fail(self, error: Mapping[str, Json], step: str | None = None) -> None:
        """Note the execution's failure; the first one is the one that is told."""
        self.failed_here = True
        if self.failure is None:
            self.failure = {**error, **({"step": step} if step else {})}

    def leave(self, run: Run) -> None:
        """Note a run that does not end well: what continues this execution begins there. What deals with a failure is no part of it."""
        if self.cause is None:
            self.left.append(Left(run.step, run.id))

    def leave_entry(self, entry: Entry) -> None:
        """Note a step that is not entered any more."""
        if self.cause is None:
            self.left.append(Left(entry.step, None, entry.args, entry.loop_results))

    def outcome(self) -> Outcome:
        """Freeze what has followed."""
        state = State(
            status=self.status,
            runs=self.runs,
            next_run=self.next_run,
            next_command=self.next_command,
            next_event=self.next_event,
            end_args=self.end_args,
            end_loop_results=self.end_loop_results,
            end_ran=self.end_ran,
            failure=self.failure,
            deadline=self.deadline,
            last_step=self.last_step,
            paused=self.paused,
            cause=self.cause,
            output=self.output,
            left=tuple(self.left),
            owed=self.owed,
        )
        return Outcome(
            state=state,
            commands=tuple(self.commands),
            events=tuple(self.events),
            finished=tuple(self.finished),
            variables=self.variables,
            loops=tuple(self.loops.values()),
            pages=tuple(self.pages),
            amended=self.amended,
            results=self.results,
            workload=self.workload,
            wake=self.wake,
            withdraw=self.withdraw,
            revoke=self.revoke,
            stopped=tuple(self.stopped),
            logs=tuple(self.logs),
        )
