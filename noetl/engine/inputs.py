"""What can happen to an execution. `at` is seconds since 1970, by the caller's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from noetl.engine.memo import FIRST, Paging, SinkPoint
from noetl.engine.state import LoopState
from noetl.engine.value import Value
from noetl.record import record

Json = Any


@record
class Start:
    """The execution begins with this payload."""

    at: float
    payload: Mapping[str, Json]


@record
class Point:
    """Where an execution goes on that continues another: a step that is entered with these args, or a loop's run with what it has left."""

    step: str
    args: Mapping[str, Json] = field(default_factory=dict)
    loop_results: int | None = None
    run: int | None = None
    loop: LoopState | None = None


@record
class Continue:
    """The execution begins where an earlier one ended; the state that comes with it has the earlier one's counters."""

    at: float
    earlier: str
    points: tuple[Point, ...]


@record
class Done:
    """A command's tool call succeeded. What its command carried comes with it; for a sink, what the step's call gave comes with it too:
    `response`, or `problem` where it failed.
    """

    at: float
    command: int
    run: int
    item: int | None
    result: Value
    fired: tuple[int, ...] = ()
    args: Mapping[str, Json] = field(default_factory=dict)
    loop_results: int | None = None
    attempt: int = 1
    paging: Paging = FIRST
    sink: SinkPoint | None = None
    response: Value | None = None
    problem: Mapping[str, Json] | None = None


@record
class Failed:
    """A command's tool call failed; `result` is what the tool got before, if anything."""

    at: float
    command: int
    run: int
    item: int | None
    error: Mapping[str, Json]
    result: Value | None = None
    fired: tuple[int, ...] = ()
    args: Mapping[str, Json] = field(default_factory=dict)
    loop_results: int | None = None
    attempt: int = 1
    paging: Paging = FIRST
    sink: SinkPoint | None = None


@record
class Withdrawn:
    """These many waiting commands of each run were cancelled after a failure, before any worker had them: what the state has as `owed`."""

    at: float
    owed: int | None
    counts: Mapping[int, int] = field(default_factory=dict)


@record
class Wake:
    """The moment came that an earlier outcome asked for as `wake`."""

    at: float


@record
class Cancel:
    """Somebody asked for the execution to end now."""

    at: float
    reason: str = ""


@record
class Pause:
    """Somebody asked that nothing new be started; `by` is the parent execution where that one was paused."""

    at: float
    reason: str = ""
    by: str | None = None


@record
class Resume:
    """Somebody asked a paused execution to go on."""

    at: float
    by: str | None = None


@record
class Broken:
    """The engine could not evaluate the routing of a step within its limits: that step's run fails, unhandled."""

    at: float
    error: Mapping[str, Json]
    command: int | None = None
    run: int | None = None
    item: int | None = None
    sink: SinkPoint | None = None


Input = Start | Continue | Done | Failed | Withdrawn | Wake | Cancel | Pause | Resume | Broken
