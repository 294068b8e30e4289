"""What a server remembers of an execution. The row's `revision` tells whether the memory is still true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noetl.engine import memo
from noetl.engine.memo import FIRST, Paging, SinkPoint
from noetl.engine.outcome import Command, Outcome
from noetl.engine.plan import Plan
from noetl.engine.scope import Known
from noetl.engine.state import State
from noetl.engine.value import Value
from noetl.record import record

Json = Any
INLINE = 64 * 1024
"""Results up to this many bytes are kept in memory, and evaluated in this process."""


@record
class Issued:
    """What a report needs to know of the command that it is about."""

    run: int
    step: str
    item: int | None
    attempt: int
    fired: tuple[int, ...]
    args: Mapping[str, Json]
    loop_results: int | None
    paging: Paging = FIRST
    sink: SinkPoint | None = None


@record
class LoopInfo:
    """What an item's command needs to know of its loop."""

    args: Mapping[str, Json]
    loop_results: int | None
    total: int
    iterator: str


@record
class Given:
    """What a call gave that a sink is to write: its result, or its error."""

    result: Value | None
    error: Mapping[str, Json] | None = None


@dataclass
class Execution:
    """One execution in memory. `parent` is the execution and the command that wait for it, `depth` how many wait above it.

    `complete` means that every result and variable so far has passed through here.
    """

    id: int
    catalog_id: int
    path: str
    version: int
    plan: Plan
    revision: int
    state: State
    payload: Mapping[str, Json]
    workload: Mapping[str, Json]
    parent: tuple[int, int] | None = None
    depth: int = 0
    complete: bool = False
    variables: dict[str, Json] | None = None
    results: dict[str, Value | None] = field(default_factory=dict)
    loop_of: dict[str, int] = field(default_factory=dict)
    aggregates: dict[int, Value] = field(default_factory=dict)
    items: dict[int, Sequence[Json]] = field(default_factory=dict)
    loops: dict[int, LoopInfo] = field(default_factory=dict)
    commands: dict[int, Issued] = field(default_factory=dict)
    given: dict[int, Given] = field(default_factory=dict)
    pages: dict[tuple[int, int | None], list[Json]] = field(default_factory=dict)
    orders: dict[int, Sequence[int]] = field(default_factory=dict)
    evicted: set[str] = field(default_factory=set)

    def known(self, env: Mapping[str, str]) -> Known:
        """Return what the engine may read."""
        return Known(
            execution_id=str(self.id),
            catalog_id=str(self.catalog_id),
            workload=self.workload,
            payload=self.payload,
            variables=self.variables or {},
            results=self.results,
            aggregates=self.aggregates,
            items=self.items,
            pages=self.pages,
            orders=self.orders,
            env=env,
            spec=self.plan.playbook.spec,
        )

    def has(self, step: str) -> bool:
        """Whether the latest result of a step, or that there is none, is in memory."""
        return step in self.results or (self.complete and step not in self.evicted and step not in self.loop_of)

    def accept(self, outcome: Outcome, results: Mapping[int, Value]) -> None:
        """Take over what followed from an input. `results` are those of the commands that ended."""
        self.state = outcome.state
        if outcome.workload is not None:
            self.workload = outcome.workload
        if outcome.variables:
            self.variables = {**(self.variables or {}), **{name: variable.value for name, variable in outcome.variables.items()}}
        overrides = {finish.command: finish.result for finish in outcome.finished if finish.result is not None} | dict(outcome.amended)
        for step, (place, number) in outcome.results.items():
            self._forget(step)
            if place == "loop":
                self.loop_of[step] = number
            else:
                self._remember(step, overrides.get(number) or results.get(number))
        for finish in outcome.finished:
            self.commands.pop(finish.command, None)
        for row in outcome.loops:
            if row.items is not None:
                self.items[row.run] = row.items
            if row.args is not None:
                self.loops[row.run] = LoopInfo(row.args, row.loop_results, row.total, row.iterator)
            if row.result is not None:
                self.aggregates[row.run] = row.result
            if row.closed:
                self.items.pop(row.run, None)
                self.aggregates.pop(row.run, None)
                self.loops.pop(row.run, None)
                self.orders.pop(row.run, None)
        for page in outcome.pages:
            self.pages.setdefault((page.run, page.item), []).append(page.value)
        for command in outcome.commands:
            self.commands[command.id] = issued(command)
        self._interrupted(outcome, overrides, results)
        if self.pages:
            self.pages = {place: found for place, found in self.pages.items() if place[0] in self.state.runs}

    def _interrupted(self, outcome: Outcome, overrides: Mapping[int, Value], results: Mapping[int, Value]) -> None:
        """Keep what sinks are to write, as long as they are not done."""
        if not self.given and all(command.sink is None for command in outcome.commands):
            return
        errors = {finish.command: finish.error for finish in outcome.finished}
        kept: dict[int, Given] = {}
        for command in outcome.commands:
            if command.sink is not None and command.sink.command:
                number = command.sink.command
                result = overrides.get(number) or results.get(number)
                found = Given(result, errors[number]) if number in errors else self.given.get(number)
                if found is not None and number in outcome.amended:
                    found = Given(outcome.amended[number], found.error)
                if found is not None and (found.result is None or found.result.size <= INLINE):
                    kept[number] = found
        for finish in outcome.finished:
            self.given.pop(finish.command, None)
        self.given.update(kept)

    def _remember(self, step: str, value: Value | None) -> None:
        if value is not None and value.size <= INLINE:
            self.results[step] = value
        else:
            self.evicted.add(step)

    def _forget(self, step: str) -> None:
        self.results.pop(step, None)
        self.loop_of.pop(step, None)
        self.evicted.discard(step)


def anew(execution: Execution) -> Execution:
    """Return an execution as it is before its start."""
    return Execution(
        id=execution.id,
        catalog_id=execution.catalog_id,
        path=execution.path,
        version=execution.version,
        plan=execution.plan,
        revision=0,
        state=State(),
        payload=execution.payload,
        workload={},
        parent=execution.parent,
        depth=execution.depth,
        complete=True,
        variables={},
    )


def issued(command: Command) -> Issued:
    """Return what is remembered of a command."""
    return Issued(
        command.run,
        command.step,
        command.item,
        command.attempt,
        command.fired,
        command.args,
        command.loop_results,
        command.paging,
        command.sink,
    )


def command_input(command: Command) -> dict[str, Json]:
    """Return the part of a command that its row's `input` keeps."""
    document = memo.encode(command.paging, command.sink)
    if command.args:
        document["args"] = command.args
    if command.fired:
        document["fired"] = command.fired
    if command.loop_results is not None:
        document["loop_results"] = command.loop_results
    return document


def issued_from_row(row: Mapping[str, Any], document: Mapping[str, Json]) -> Issued:
    """Read what is remembered of a command from its row and its decoded `input`."""
    return Issued(
        row["run_id"],
        row["step"],
        row["item"],
        row["attempt"],
        tuple(document.get("fired", ())),
        document.get("args", {}),
        document.get("loop_results"),
        memo.decode_paging(document),
        memo.decode_sink(document),
    )
