"""An execution's state: small and counted. It never holds a result, and does not grow with what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from noetl.record import record

Json = Any
Status = Literal["RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"]
TERMINAL: frozenset[str] = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@record
class LoopState:
    """How far a loop is. `cursor` counts the items that were issued, `live` those of them that are not finished; `limit` 0 means no limit.

    With `redo` the loop goes on where an earlier execution left it: which items are still to be issued is written in its row.
    """

    total: int
    limit: int
    cursor: int = 0
    live: int = 0
    done: int = 0
    failed: int = 0
    redo: bool = False

    @property
    def closing(self) -> bool:
        """Whether every item is finished, and only `loop.done` remains."""
        return self.cursor == self.total and self.live == 0

    @property
    def waits(self) -> bool:
        """Whether only a Wake can move the loop on: to its next chunk of items, or to its end."""
        return self.live == 0 if self.cursor == self.total else not self.limit or self.live < self.limit

    def issue(self, number: int) -> LoopState:
        """Return the loop with so many items more issued."""
        return LoopState(self.total, self.limit, self.cursor + number, self.live + number, self.done, self.failed, self.redo)

    def finish(self, failed: bool) -> LoopState:
        """Return the loop with one of its live items finished."""
        done = self.done + (not failed)
        return LoopState(self.total, self.limit, self.cursor, self.live - 1, done, self.failed + failed, self.redo)

    def withdraw(self, number: int) -> LoopState:
        """Return the loop with so many items live no more, though neither done nor failed."""
        return LoopState(self.total, self.limit, self.cursor, self.live - number, self.done, self.failed, self.redo)


@record
class Run:
    """One entry into a step that is not finished. `fired` are the rules that fired at `step.enter`; `suspended` is a loop whose end waits
    for a sink; `until` is when the whole run is out of time.
    """

    id: int
    step: str
    routed: bool = False
    fired: tuple[int, ...] = ()
    loop: LoopState | None = None
    suspended: bool = False
    until: float | None = None

    @property
    def waits_for(self) -> int:
        """How many commands it waits for: of a loop one for each live item, else its own or its sink's."""
        return self.loop.live if self.loop is not None and not self.suspended else 1

    def with_loop(self, loop: LoopState) -> Run:
        """Return the run with its loop as it is now."""
        return Run(self.id, self.step, self.routed, self.fired, loop, self.suspended, self.until)

    def suspend(self) -> Run:
        """Return the run of a loop whose end waits for a sink."""
        return Run(self.id, self.step, self.routed, self.fired, self.loop, True, self.until)


@record
class Left:
    """What an execution that did not complete leaves undone: a run that did not end well, or, with args, a step that was not entered.

    A run's own args are with its first command, or in its loop's row.
    """

    step: str
    run: int | None = None
    args: Mapping[str, Json] | None = None
    loop_results: int | None = None


@record
class Paused:
    """Since when an execution is paused, why, and by which parent execution if not by a person."""

    at: float
    reason: str = ""
    by: str | None = None


@record
class State:
    """An execution between two inputs. The counters make ids: the same inputs give the same ids.

    `cause` is the failure that the playbook's `on_failure` deals with, `output` what the playbook gives when it is COMPLETED. `owed` names
    a withdrawal that nobody has told the counts of yet: the number of the event that was next when the execution failed.
    """

    status: Status = "RUNNING"
    runs: Mapping[int, Run] = field(default_factory=dict)
    next_run: int = 1
    next_command: int = 1
    next_event: int = 1
    end_args: Mapping[str, Json] | None = None
    end_loop_results: int | None = None
    end_ran: bool = False
    failure: Mapping[str, Json] | None = None
    deadline: float | None = None
    last_step: str | None = None
    paused: Paused | None = None
    cause: Mapping[str, Json] | None = None
    output: Json = None
    left: tuple[Left, ...] = ()
    owed: int | None = None


def encode(state: State) -> dict[str, Json]:
    """Return the state as JSON; `decode` reads it back."""
    document: dict[str, Json] = {
        "status": state.status,
        "runs": [_encode_run(run) for run in state.runs.values()],
        "next": [state.next_run, state.next_command, state.next_event],
    }
    for name in ("end_args", "end_loop_results", "failure", "deadline", "last_step", "cause", "output", "owed"):
        value = getattr(state, name)
        if value is not None:
            document[name] = value
    if state.end_ran:
        document["end_ran"] = True
    if state.left:
        document["left"] = [[left.step, left.run, left.args, left.loop_results] for left in state.left]
    if state.paused is not None:
        document["paused"] = {"at": state.paused.at, "reason": state.paused.reason, "by": state.paused.by}
    return document


def decode(document: Mapping[str, Json]) -> State:
    """Read a state that `encode` wrote."""
    runs = [_decode_run(run) for run in document["runs"]]
    next_run, next_command, next_event = document["next"]
    return State(
        status=document["status"],
        runs={run.id: run for run in runs},
        next_run=next_run,
        next_command=next_command,
        next_event=next_event,
        end_args=document.get("end_args"),
        end_loop_results=document.get("end_loop_results"),
        end_ran=document.get("end_ran", False),
        failure=document.get("failure"),
        deadline=document.get("deadline"),
        last_step=document.get("last_step"),
        paused=Paused(**document["paused"]) if "paused" in document else None,
        cause=document.get("cause"),
        output=document.get("output"),
        left=tuple(Left(*left) for left in document.get("left", ())),
        owed=document.get("owed"),
    )


def _encode_run(run: Run) -> list[Json]:
    loop = run.loop
    counts: list[Json] | None = None
    if loop is not None:
        counts = [loop.total, loop.limit, loop.cursor, loop.live, loop.done, loop.failed, *([True] if loop.redo else [])]
    rest = [run.suspended, run.until] if run.suspended or run.until is not None else []
    return [run.id, run.step, run.routed, list(run.fired), counts, *rest]


def _decode_run(document: list[Json]) -> Run:
    run_id, step, routed, fired, counts, *rest = document
    return Run(run_id, step, routed, tuple(fired), None if counts is None else LoopState(*counts), *rest)
