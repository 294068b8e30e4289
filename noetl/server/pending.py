"""What waits to be committed, and the rows that a commit writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from noetl.engine.inputs import Broken, Done, Failed, Input, Start
from noetl.engine.outcome import Command, Event, LoopRow, Outcome
from noetl.engine.plan import Plan
from noetl.engine.sinks import at as sink_at
from noetl.engine.state import TERMINAL, encode
from noetl.engine.value import Stored, Value, dumps
from noetl.playbook.own_file import uses_own_file
from noetl.server.execution import Execution, Given, Issued, command_input

Json = Any
CHUNK = 1000
"""How many loop items one row keeps."""
PLAYBOOK = ("playbook", "playbooks")
ENGINE = "@engine"
"""The pool of commands that no worker runs."""
NOTHING_ISSUED = (None,) * 12
GRACE = 5.0
"""Seconds that the server which wants to be woken at once, or has to tell what was withdrawn, has before the sweep does it."""


@dataclass
class Handout:
    """A worker's free slots: commands that follow from its reports may be leased to it in the answer.

    `told` has what it will be told of them: that is put together while the database commits. `early` sends it ahead, of those in `shown`,
    so that the worker makes them ready. `settled`, where a worker waits, is set when a commit that was to lease some is over, `leased`
    tells that they are. `offered` is when that was decided, by the monotonic clock.

    `left` is how many of the worker's reports are not committed yet, `prompt` is called when none is.
    """

    worker_id: str
    pool: str
    free: int
    settled: asyncio.Event | None = None
    leased: bool = False
    offered: float = 0.0
    early: Callable[[bytes], bool] | None = None
    shown: set[tuple[int, int]] = field(default_factory=set)
    commands: list[tuple[int, int]] = field(default_factory=list)
    told: dict[tuple[int, int], orjson.Fragment] = field(default_factory=dict)
    left: int = 0
    prompt: Callable[[], None] | None = None

    def words(self, execution_id: int, command: int) -> Json:
        """Return what the answer says of a command, of one that was shown only which it is; None where it is not put together yet."""
        key = (execution_id, command)
        return [str(execution_id), command, 1] if key in self.shown and key in self.told else self.told.get(key)

    def recorded(self) -> None:
        """One of the worker's reports is committed."""
        self.left -= 1
        if not self.left and self.prompt is not None:
            self.prompt()

    def settle(self) -> None:
        """Wake whoever waits for a command of this worker."""
        if self.settled is not None:
            self.settled.set()


@dataclass
class Begin:
    """A new execution. `newest` says that it must not begin if its playbook has a newer version."""

    execution: Execution
    parent: int | None
    at: float
    future: asyncio.Future[str]
    newest: bool = False

    @property
    def execution_id(self) -> int:
        """The new execution's id."""
        return self.execution.id


@dataclass
class Report:
    """A worker's word on a command: its result, or its error."""

    execution_id: int
    command: int
    fence: int
    at: float
    future: asyncio.Future[str]
    result: Value | None = None
    error: Mapping[str, Json] | None = None
    attempt: int = 1
    started_at: float | None = None
    handout: Handout | None = None


@dataclass
class Signal:
    """Anything else that happens to an execution."""

    execution_id: int
    given: Input
    future: asyncio.Future[str]


Pending = Begin | Report | Signal


def engine_input(execution: Execution, pending: Pending) -> Input:
    """Return what the engine is told of a pending thing. A report's command must be in the execution's memory."""
    match pending:
        case Begin():
            return Start(pending.at, pending.execution.payload)
        case Signal():
            return pending.given
        case Report():
            known = execution.commands[pending.command]
            carried = (known.fired, known.args, known.loop_results, known.attempt, known.paging, known.sink)
            if pending.error is not None:
                return Failed(pending.at, pending.command, known.run, known.item, pending.error, pending.result, *carried)
            result = pending.result or Value.of(None)
            given = given_to(execution, known)
            if given is None:
                return Done(pending.at, pending.command, known.run, known.item, result, *carried)
            return Done(pending.at, pending.command, known.run, known.item, result, *carried, given.result, given.error)


def given_to(execution: Execution, known: Issued) -> Given | None:
    """Return what a sink's command was to write, from memory: None for what is no sink."""
    if known.sink is None:
        return None
    if known.sink.event == "loop.done":
        return Given(execution.aggregates.get(known.run))
    return execution.given.get(known.sink.command, Given(Value.of(None)))


def broken_input(execution: Execution, pending: Pending, at: float, error: Mapping[str, Json]) -> Input:
    """Return what the engine is told when it could not evaluate an input within its limits."""
    if isinstance(pending, Report):
        known = execution.commands[pending.command]
        return Broken(at, error, pending.command, known.run, known.item, known.sink)
    return Broken(at, error)


@dataclass
class Write:
    """The rows of one execution's part in a commit. `offer` finds a worker that waits for a command of a pool."""

    execution: Execution
    offer: Callable[[str], Handout | None] | None = None
    pendings: list[Pending] = field(default_factory=list)
    begin: Begin | None = None
    ended: list[tuple[Any, ...]] = field(default_factory=list)
    issued: dict[int, list[Any]] = field(default_factory=dict)
    happened: list[Event] = field(default_factory=list)
    kept: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    looped: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    chunked: list[tuple[Any, ...]] = field(default_factory=list)
    handed: list[tuple[Handout, int]] = field(default_factory=list)
    paged: list[tuple[Any, ...]] = field(default_factory=list)
    amended: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    delayed: list[tuple[float, tuple[str, int, int]]] = field(default_factory=list)
    unborn: dict[int, int] = field(default_factory=dict)
    wake: float | None = None
    withdraw: bool = False
    revoke: bool = False
    stopped: list[int] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    at: float = 0

    def add(self, pending: Pending, outcome: Outcome, at: float) -> None:
        """Add what followed from a pending thing; the execution takes it over in memory."""
        execution = self.execution
        self.pendings.append(pending)
        self.at = at
        results: dict[int, Value] = {}
        if isinstance(pending, Begin):
            self.begin = pending
        if isinstance(pending, Report):
            if pending.result is not None and pending.error is None:
                results[pending.command] = pending.result
            self._end(pending, outcome)
        execution.accept(outcome, results)
        self._issue(pending, outcome)
        self._record(outcome)
        if self.begin is not None and outcome.withdraw:
            self._withdraw_unborn()
        self.wake = outcome.wake
        self.withdraw |= outcome.withdraw
        self.revoke |= outcome.revoke
        self.stopped += outcome.stopped
        self.logs += outcome.logs

    def _end(self, pending: Report, outcome: Outcome) -> None:
        for finish in outcome.finished:
            result = finish.result or (pending.result if finish.status == "done" else None)
            self.ended.append(
                (
                    self.execution.id,
                    finish.command,
                    pending.fence,
                    finish.status,
                    text(result) if result is not None else None,
                    encoded(finish.error),
                    pending.attempt,
                    moment(pending.started_at),
                )
            )

    def _issue(self, pending: Pending, outcome: Outcome) -> None:
        own = pending.handout if isinstance(pending, Report) else None
        for command in outcome.commands:
            pool = pool_of(self.execution.plan, command)
            serial = goes_in_turn(self.execution.plan, command)
            worker = None
            free = not (serial or command.delay) and self.execution.state.paused is None
            if free and (handout := self._taker(own, pool)) is not None:
                handout.free -= 1
                handout.commands.append((self.execution.id, command.id))
                self.handed.append((handout, command.id))
                worker = handout.worker_id
            self.issued[command.id] = [
                self.execution.id, command.id, command.run, command.step, command.item, kind_of(self.execution.plan, command), pool,
                _input_text(command), worker, command.attempt, moment(self.at + command.delay) if command.delay else None,
                serial,
            ]  # fmt: skip
            if command.delay:
                self.delayed.append((command.delay, (pool, self.execution.id, command.id)))

    def _taker(self, own: Handout | None, pool: str) -> Handout | None:
        """Return whose a command is to be: the worker's that reports here, or one's that waits."""
        if own is not None and own.free > 0 and own.pool == pool:
            return own
        return self.offer(pool) if self.offer is not None else None

    def _withdraw_unborn(self) -> None:
        """An execution that fails as it begins: the commands that it issued are withdrawn before they are ever stored."""
        for row in self.issued.values():
            self.unborn[row[2]] = self.unborn.get(row[2], 0) + 1
        self.issued.clear()
        self._take_back()
        self.handed.clear()

    def _record(self, outcome: Outcome) -> None:
        eid = self.execution.id
        self.happened += outcome.events
        for name, variable in outcome.variables.items():
            self.kept[name] = (eid, name, variable.raw.decode(), variable.type, variable.step)
        for row in outcome.loops:
            self._loop(row)
        for page in outcome.pages:
            item = -1 if page.item is None else page.item
            self.paged.append((eid, page.run, item, page.number, dumps(page.value).decode()))
        for command, value in outcome.amended.items():
            self.amended[command] = (eid, command, text(value))

    def _loop(self, row: LoopRow) -> None:
        """Add a loop's counts; what only its opening row says is kept from an earlier input of the same commit."""
        eid = self.execution.id
        if row.items is not None:
            for chunk, start in enumerate(range(0, len(row.items), CHUNK)):
                self.chunked.append((eid, row.run, chunk, dumps(row.items[start : start + CHUNK]).decode()))
        iterator, opening = row.iterator or None, (encoded(row.args), row.loop_results)
        if row.args is None and row.run in self.looped:
            earlier = self.looped[row.run]
            iterator, opening = earlier[3], (earlier[10], earlier[11])
        counts = (row.total, row.issued, row.done, row.failed, row.cancelled, row.closed)
        self.looped[row.run] = (eid, row.run, row.step, iterator, *counts, *opening, text(row.result) if row.result is not None else None)

    def undo(self) -> None:
        """Give back what was handed out: the commit did not happen."""
        self._take_back()

    def _take_back(self) -> None:
        for handout, command in self.handed:
            handout.free += 1
            handout.commands.remove((self.execution.id, command))
            # What is worked out anew may be another command of that number: it is told in full.
            handout.shown.discard((self.execution.id, command))
            handout.told.pop((self.execution.id, command), None)
            handout.settle()

    @property
    def waiting(self) -> list[tuple[str, int, int]]:
        """The commands that may be claimed now and that nobody was handed: (pool, execution, command)."""
        if self.execution.state.paused is not None:
            return []
        return [(row[6], row[0], row[1]) for row in self.issued.values() if row[8] is None and row[10] is None]

    def rows(self) -> tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]:
        """Return the row of `begun` or that of `moved`."""
        execution = self.execution
        state = execution.state
        status, at = state.status, moment(self.at)
        document = dumps(encode(state)).decode()
        error = encoded(state.failure) if status in TERMINAL else None
        soon = not self.wake or state.owed is not None
        due = None if self.wake is None or status in TERMINAL else moment(self.at + GRACE if soon else self.wake)
        if self.begin is not None:
            head = (execution.id, execution.catalog_id, execution.path, execution.version, status, document)
            given = (encoded(dict(execution.payload)), encoded(dict(execution.workload)))
            parent, command = execution.parent or (self.begin.parent, None)
            return (*head, *given, error, parent, command, execution.depth, due, at, self.begin.newest), None
        return None, (execution.id, execution.revision, status, document, error, due, at)

    @property
    def step(self) -> tuple[Any, ...] | None:
        """Return the row of `apply_step` where that is all: one command has ended, and at most one follows from it."""
        one = len(self.ended) == 1 and len(self.issued) < 2 and self.begin is None and bool(self.happened)
        if (
            not one
            or self.kept
            or self.looped
            or self.chunked
            or self.paged
            or self.amended
            or self.revoke
            or self.withdraw
            or self.stopped
        ):
            return None
        _, moved = self.rows()
        issued = next(iter(self.issued.values()), NOTHING_ISSUED)
        history = self.history
        assert moved is not None and history is not None
        return (*moved, *self.ended[0][1:], *issued[1:], *history[1:])

    @property
    def history(self) -> tuple[Any, ...] | None:
        """Return the row of all events of this commit."""
        events = self.happened
        if not events:
            return None
        text = dumps([(e.type, e.step, e.run, e.item, e.command, e.status, e.detail, e.error, e.at) for e in events]).decode()
        return (self.execution.id, events[0].seq, events[-1].seq, text)


def kind_of(plan: Plan, command: Command) -> str:
    """Return the kind of tool that a command runs; of a sink with `sink:` before it."""
    step = plan.steps[command.step].step
    if command.sink is not None:
        return f"sink:{sink_at(step, command.sink).tool.kind}"
    return step.tool.kind if step.tool is not None else ""


def pool_of(plan: Plan, command: Command) -> str:
    """Return the pool whose workers run a command; a sub-playbook is the engine's own, its sinks are not."""
    step = plan.steps[command.step]
    own = command.sink is None and step.step.tool is not None and step.step.tool.kind in PLAYBOOK
    return ENGINE if own else step.pool


def goes_in_turn(plan: Plan, command: Command) -> bool:
    """Whether a command works on the execution's own file: of those one at a time runs, in the order in which they were issued."""
    if not plan.file_pools:
        return False
    step = plan.steps[command.step].step
    tool = sink_at(step, command.sink).tool if command.sink is not None else step.tool
    return tool is not None and uses_own_file(tool)


def text(value: Value) -> str | None:
    """Return a value's JSON text for a `json` column; None for one that is stored in chunks."""
    return None if isinstance(value, Stored) else value.raw().decode()


def encoded(value: Json) -> str | None:
    """Return JSON text, or None for nothing."""
    return None if value is None else dumps(value).decode()


def moment(at: float | None) -> datetime | None:
    """Return a point in time for a `timestamptz` column."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _input_text(command: Command) -> str:
    document = command_input(command)
    return dumps(document).decode() if document else "{}"
