"""What an input leads to: values that the caller stores in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from noetl.engine.memo import FIRST, Paging, SinkPoint
from noetl.engine.state import State
from noetl.engine.value import Value
from noetl.record import record

Json = Any


@record
class Command:
    """Work for a worker. `args` are those of the transition (loop items find theirs in their loop); `loop_results` names a loop's run.

    It may be claimed `delay` seconds from now. With `sink` it is not the step's tool that runs but a rule's sink.
    """

    id: int
    run: int
    step: str
    item: int | None = None
    args: Mapping[str, Json] = field(default_factory=dict)
    fired: tuple[int, ...] = ()
    loop_results: int | None = None
    attempt: int = 1
    delay: float = 0
    paging: Paging = FIRST
    sink: SinkPoint | None = None


@record
class Page:
    """A value that a call of a pagination collected; `number` is the call's, `item` the loop's item."""

    run: int
    item: int | None
    number: int
    value: Json


class Event(NamedTuple):
    """A line of the execution's history; a tuple, since there are so many of them. No result is in it: `command` or `run` leads to it."""

    seq: int
    type: str
    at: float
    step: str | None = None
    run: int | None = None
    item: int | None = None
    command: int | None = None
    status: str | None = None
    detail: Json = None
    error: Mapping[str, Json] | None = None


@record
class Finish:
    """A command's end. `result` replaces what the tool returned where a rule's `result` says so."""

    command: int
    status: str
    result: Value | None = None
    error: Mapping[str, Json] | None = None


@record
class Variable:
    """A variable's new value, also as JSON text, and where it came from."""

    value: Json
    type: str
    step: str
    raw: bytes


@record
class LoopRow:
    """A loop's counts as they are now. `items` and `args` only when it opens, `result` when a rule replaced the aggregate."""

    run: int
    step: str
    total: int
    issued: int
    done: int
    failed: int
    cancelled: int
    closed: bool
    iterator: str = ""
    items: Sequence[Json] | None = None
    args: Mapping[str, Json] | None = None
    loop_results: int | None = None
    result: Value | None = None


@record
class Outcome:
    """Everything that follows from one input.

    `results` names for each step whose run finished where its result is: ("command", id) or ("loop", run).
    `amended` are results that a rule replaced after their command had ended.
    `wake` is when the engine wants a Wake (0: at once). `withdraw` asks for the waiting commands to be cancelled, `revoke` for all of them,
    `stopped` for all of those runs.
    """

    state: State
    commands: tuple[Command, ...] = ()
    events: tuple[Event, ...] = ()
    finished: tuple[Finish, ...] = ()
    variables: Mapping[str, Variable] = field(default_factory=dict)
    loops: tuple[LoopRow, ...] = ()
    pages: tuple[Page, ...] = ()
    amended: Mapping[int, Value] = field(default_factory=dict)
    results: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    workload: Mapping[str, Json] | None = None
    wake: float | None = None
    withdraw: bool = False
    revoke: bool = False
    stopped: tuple[int, ...] = ()
    logs: tuple[str, ...] = ()
