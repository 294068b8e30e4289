"""A caller of the engine: keeps in memory what a server keeps in its database, and hands over no more than the plan asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from noetl.engine import loops, memo
from noetl.engine.advance import advance
from noetl.engine.inputs import Broken, Cancel, Continue, Done, Failed, Input, Pause, Resume, Start, Wake, Withdrawn
from noetl.engine.outcome import Command, Event, LoopRow, Outcome
from noetl.engine.plan import Plan, Uses
from noetl.engine.scope import Known
from noetl.engine.state import State, decode, encode
from noetl.engine.value import Value
from noetl.playbook.parse import parse

Json = Any
AT = 1_700_000_000.0


def playbook(workflow: Sequence[Json], **more: Json) -> str:
    """Return the text of a playbook with this workflow."""
    return json.dumps({"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "case"}, "workflow": workflow, **more})


def carried(command: Command) -> tuple[Any, ...]:
    """Return what a report's input takes over from its command, in the input's order."""
    return command.fired, command.args, command.loop_results, command.attempt, command.paging, command.sink


class Caller:
    """One execution, as its caller sees it."""

    def __init__(self, text: str) -> None:
        self.plan = Plan(parse(text))
        self.state = State()
        self.at = AT
        self.open: dict[int, Command] = {}
        self.step_of_run: dict[int, str] = {}
        self.payload: Mapping[str, Json] = {}
        self.workload: Mapping[str, Json] = {}
        self.variables: dict[str, Json] = {}
        self.results: dict[str, Value] = {}
        self.loops: dict[int, LoopRow] = {}
        self.items: dict[int, Sequence[Json]] = {}
        self.ended: dict[int, tuple[Command, str, Value | None, Mapping[str, Json] | None]] = {}
        self.pages: dict[tuple[int, int | None], list[Json]] = {}
        self.orders: Mapping[int, Sequence[int]] = {}
        self.overrides: dict[int, Value] = {}
        self.events: list[Event] = []
        self.issued: list[Command] = []
        self.logs: list[str] = []
        self.wake: float | None = None

    def start(self, payload: Mapping[str, Json] | None = None) -> Outcome:
        """Start the execution."""
        self.payload = payload or {}
        return self.give(Start(self.at, self.payload))

    def done(self, command: Command, result: Json = None) -> Outcome:
        """Report a command's success."""
        return self.give(self.success(command, result))

    def failed(self, command: Command, error: Mapping[str, Json]) -> Outcome:
        """Report a command's failure."""
        return self.give(self.failure(command, error))

    def success(self, command: Command, result: Json = None) -> Done:
        """Return the input of a command's success; for a sink, with what its call gave."""
        response, problem = self._given(command)
        return Done(self.at, command.id, command.run, command.item, Value.of(result), *carried(command), response, problem)

    def failure(self, command: Command, error: Mapping[str, Json]) -> Failed:
        """Return the input of a command's failure."""
        return Failed(self.at, command.id, command.run, command.item, error, None, *carried(command))

    def _given(self, command: Command) -> tuple[Value | None, Mapping[str, Json] | None]:
        point = command.sink
        if point is None:
            return None, None
        if point.event == "loop.done":
            return self.overrides.get(command.run) or self._aggregate(command.run), None
        if point.command == 0:
            return Value.of(None), None
        _, status, result, error = self.ended[point.command]
        return result if status == "done" or result is not None else None, error

    def give(self, given: Input) -> Outcome:
        """Let the engine work an input out, and keep what follows."""
        outcome = advance(self.plan, self.state, given, self.known(given))
        self._accept(given, outcome)
        return outcome

    def forget(self) -> None:
        """Go on with the state, and with what open commands carry, as it comes back from the database."""
        self.state = decode(json.loads(json.dumps(encode(self.state))))
        for command in self.open.values():
            document = json.loads(json.dumps(memo.encode(command.paging, command.sink)))
            self.open[command.id] = replace(command, paging=memo.decode_paging(document), sink=memo.decode_sink(document))

    def known(self, given: Input) -> Known:
        """Return what the plan says may be read for an input, and nothing else."""
        uses = self._uses(given)
        roots = {root for root, _ in uses}
        steps = {attribute for root, attribute in uses if root == "steps"}
        wanted = self.plan.step_names if None in steps else {*roots, *steps}
        items = {
            run: items
            for run, items in self.items.items()
            if run in self.step_of_run and self.plan.steps[self.step_of_run[run]].reads_items
        }
        return Known(
            execution_id="7",
            catalog_id="8",
            workload=self.workload,
            payload=self.payload,
            variables=dict(self.variables) if roots - self.plan.step_names else {},
            results={step: value for step, value in self.results.items() if step in wanted},
            aggregates={
                run.id: self._aggregate(run.id)
                for run in self.state.runs.values()
                if run.id in self.loops and run.loop is not None and run.loop.closing
            }
            if isinstance(given, Wake)
            else {},
            items=items,
            pages={place: list(found) for place, found in self.pages.items()},
            orders=self.orders,
            env={"HOME": "/home/me"},
            spec=self.plan.playbook.spec,
        )

    def _uses(self, given: Input) -> Uses:
        match given:
            case Start():
                return self.plan.starting
            case Continue():
                return frozenset().union(*(self.plan.steps[point.step].entering for point in given.points))
            case Done(run=run) | Failed(run=run):
                return self.plan.steps[self.state.runs[run].step].routing if run in self.state.runs else frozenset()
            case Wake():
                return self.plan.waking(self.state)[0]
            case Withdrawn() | Cancel() | Pause() | Resume() | Broken():
                return frozenset()

    def _aggregate(self, run: int) -> Value:
        row = self.loops[run]
        results: dict[int | None, Json] = {}
        for command, status, result, _ in sorted(self.ended.values(), key=lambda ended: ended[0].id):
            if command.run == run and command.sink is None:
                results[command.item] = result.get() if status == "done" and result is not None else None
        return Value.of(loops.aggregate([results.get(item) for item in range(row.total)], row.done, row.failed))

    def _accept(self, given: Input, outcome: Outcome) -> None:
        self.state = outcome.state
        self.wake = outcome.wake
        self.events += outcome.events
        self.issued += outcome.commands
        self.logs += outcome.logs
        self.workload = outcome.workload if outcome.workload is not None else self.workload
        self.variables.update({name: variable.value for name, variable in outcome.variables.items()})
        told = {given.command: given.result} if isinstance(given, Done) else {}
        for row in outcome.loops:
            self.loops[row.run] = row
            self.step_of_run[row.run] = row.step
            if row.items is not None:
                self.items[row.run] = row.items
            if row.result is not None:
                self.overrides[row.run] = row.result
        for finish in outcome.finished:
            command = self.open.pop(finish.command)
            value = finish.result or told.get(finish.command)
            self.ended[command.id] = (command, finish.status, value, finish.error)
        for number, amended in outcome.amended.items():
            command, status, _, error = self.ended[number]
            self.ended[number] = (command, status, amended, error)
        for page in outcome.pages:
            found = self.pages.setdefault((page.run, page.item), [])
            found.append(page.value)
            assert page.number == len(found)
        for step, (place, number) in outcome.results.items():
            self.results[step] = (
                (self.ended[number][2] or Value.of(None)) if place == "command" else self.overrides.get(number) or self._aggregate(number)
            )
        for command in outcome.commands:
            self.open[command.id] = command
            self.step_of_run[command.run] = command.step
