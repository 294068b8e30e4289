"""Every case in tests/cases/engine: a playbook, what is told to the engine in turn, and what must follow from it.

A case's `play` is a list of inputs: `start: PAYLOAD`, `done: STEP` or `STEP[ITEM]` with `result`, `failed` and `broken` with `error`,
`wake`, `cancel: REASON`, `pause: REASON`, `resume` (both with `by`), `withdrawn: {STEP: NUMBER}`;
`after` is the seconds since the last, `forget` has what is stored read back first. Beside an input stands what follows from it,
in the words of `SEEN`; what is not named is not compared. A report is about the oldest open command of its name, or about `command`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_caller import Caller, playbook

from noetl.engine.inputs import Broken, Cancel, Continue, Input, Pause, Point, Resume, Start, Wake, Withdrawn
from noetl.engine.outcome import Command, Event, LoopRow, Outcome
from noetl.engine.state import LoopState, State
from noetl.engine.turn import IllegalInput

Json = Any
FOLDER = Path(__file__).parents[2] / "cases" / "engine"
TOP = ("workload", "spec", "workbook", "input", "output", "on_failure", "pool")
INPUTS = ("start", "continue", "done", "failed", "broken", "pause", "resume", "wake", "cancel", "withdrawn")


def cases() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text())["cases"]:
            yield pytest.param(case, id=f"{path.stem}: {case['case']}")


@pytest.mark.parametrize("case", list(cases()))
def test_what_follows_is_what_the_case_says(case: Mapping[str, Json]) -> None:
    caller = Caller(playbook(case["workflow"], **{key: case[key] for key in TOP if key in case}))
    for number, entry in enumerate(case["play"]):
        word = next(word for word in INPUTS if word in entry)
        told = f"{number}: {word} {entry[word] or ''}".strip()
        expected = {key: value for key, value in entry.items() if key not in (word, "result", "error", "after", "command", "forget", "by")}
        if entry.get("forget"):
            caller.forget()
        caller.at += entry.get("after", 1)
        if word == "start":
            caller.payload = entry["start"] or {}
        given = input_of(caller, word, entry)
        assert seen(caller, given, expected) == expected, told


def test_no_two_cases_have_one_name() -> None:
    names = [case.id for case in cases()]
    assert len(names) == len(set(names)) > 60


def seen(caller: Caller, given: Input, expected: Mapping[str, Json]) -> dict[str, Json]:
    """Give the input; return what followed, of the kinds that are expected."""
    before = caller.state
    try:
        outcome = caller.give(given)
    except IllegalInput as error:
        assert caller.state is before
        return {"illegal": error.message} if "illegal" in expected else {"unexpectedly illegal": error.message}
    return {key: SEEN[key](caller, outcome) for key in expected}


def input_of(caller: Caller, word: str, entry: Mapping[str, Json]) -> Input:
    told = entry[word]
    match word:
        case "start":
            return Start(caller.at, told or {})
        case "continue":
            return continuing(caller, told)
        case "wake":
            return Wake(caller.at)
        case "cancel":
            return Cancel(caller.at, told or "")
        case "pause":
            return Pause(caller.at, told or "", entry.get("by"))
        case "resume":
            return Resume(caller.at, entry.get("by"))
        case "withdrawn":
            runs = {caller.step_of_run[run.id]: run.id for run in caller.state.runs.values()}
            return Withdrawn(caller.at, caller.state.owed, {runs[step]: number for step, number in (told or {}).items()})
        case "broken" if told is None:
            return Broken(caller.at, error_of(entry))
    command = Command(**entry["command"]) if "command" in entry else open_command(caller, told)
    match word:
        case "done":
            return caller.success(command, entry.get("result"))
        case "failed":
            return caller.failure(command, error_of(entry))
    return Broken(caller.at, error_of(entry), command.id, command.run, command.item, command.sink)


def continuing(caller: Caller, told: Mapping[str, Json]) -> Input:
    """Return what continues an earlier execution, that had come to these counters."""
    points = tuple(Point(**{**point, "loop": LoopState(*point["loop"])} if "loop" in point else point) for point in told["points"])
    if caller.state == State():
        caller.state = State(next_run=told["counters"][0], next_command=told["counters"][1])
        caller.orders = told["orders"]
        for point in points:
            if point.run is not None and point.loop is not None:
                loop = point.loop
                caller.loops[point.run] = LoopRow(point.run, point.step, loop.total, loop.cursor, loop.done, loop.failed, 0, False)
    return Continue(caller.at, "6", points)


def error_of(entry: Mapping[str, Json]) -> Mapping[str, Json]:
    error = entry.get("error", "it broke")
    return error if isinstance(error, dict) else {"message": error, "type": "tool"}


def open_command(caller: Caller, told: str) -> Command:
    match = re.fullmatch(r"(.+?)(?:\[(\d+)\])?", told)
    assert match
    item = None if match[2] is None else int(match[2])
    found = [command for command in caller.open.values() if command.step == match[1] and command.item == item]
    assert found, f"no command {told!r} is open, only {[place(command) for command in caller.open.values()]}"
    return found[0]


def place(thing: Command | Event) -> str:
    return f"{thing.step}" if thing.item is None else f"{thing.step}[{thing.item}]"


def commands(caller: Caller, outcome: Outcome) -> Json:
    return [{place(command): dict(command.args)} if command.args else place(command) for command in outcome.commands]


def events(caller: Caller, outcome: Outcome) -> Json:
    return [f"{event.type} {place(event)}" if event.step else event.type for event in outcome.events]


def loops(caller: Caller, outcome: Outcome) -> Json:
    shown = ("total", "issued", "done", "failed", "cancelled", "closed")
    return {row.step: [getattr(row, name) for name in shown] for row in outcome.loops}


SEEN: Mapping[str, Callable[[Caller, Outcome], Json]] = {
    "commands": commands,
    "events": events,
    "delays": lambda caller, outcome: [command.delay for command in outcome.commands],
    "attempts": lambda caller, outcome: [command.attempt for command in outcome.commands],
    "overrides": lambda caller, outcome: [command.paging.overrides for command in outcome.commands],
    "page_numbers": lambda caller, outcome: [command.paging.number for command in outcome.commands],
    "sinks": lambda caller, outcome: [f"{place(at)} {at.sink.event} {at.sink.number}" for at in outcome.commands if at.sink],
    "pages": lambda caller, outcome: [page.value for page in outcome.pages],
    "amended": lambda caller, outcome: {number: value.get() for number, value in outcome.amended.items()},
    "loops": loops,
    "status": lambda caller, outcome: outcome.state.status,
    "failure": lambda caller, outcome: (outcome.state.failure or {}).get("message"),
    "hint": lambda caller, outcome: (outcome.state.failure or {}).get("hint"),
    "stopped": lambda caller, outcome: [caller.step_of_run[run] for run in outcome.stopped],
    "output": lambda caller, outcome: outcome.state.output,
    "failed_step": lambda caller, outcome: (outcome.state.failure or {}).get("step"),
    "finished": lambda caller, outcome: [f"{finish.command} {finish.status}" for finish in outcome.finished],
    "sets": lambda caller, outcome: {name: variable.value for name, variable in outcome.variables.items()},
    "types": lambda caller, outcome: {name: f"{variable.type} of {variable.step}" for name, variable in outcome.variables.items()},
    "results": lambda caller, outcome: {step: caller.results[step].get() for step in outcome.results},
    "variables": lambda caller, outcome: caller.variables,
    "workload": lambda caller, outcome: outcome.workload,
    "items": lambda caller, outcome: {row.step: list(row.items) for row in outcome.loops if row.items is not None},
    "loop_args": lambda caller, outcome: {row.step: dict(row.args) for row in outcome.loops if row.args is not None},
    "loop_results": lambda caller, outcome: {
        place(command): caller.step_of_run.get(command.loop_results or 0) for command in outcome.commands
    },
    "active": lambda caller, outcome: [run.step for run in outcome.state.runs.values()],
    "wake": lambda caller, outcome: outcome.wake if not outcome.wake else round(outcome.wake - caller.at, 6),
    "withdraw": lambda caller, outcome: outcome.withdraw,
    "revoke": lambda caller, outcome: outcome.revoke,
    "left": lambda caller, outcome: [
        f"{left.step} {dict(left.args)}" if left.args is not None else f"{left.step} run {left.run}" for left in outcome.state.left
    ],
    "logs": lambda caller, outcome: list(outcome.logs),
    "last_step": lambda caller, outcome: outcome.state.last_step,
    "illegal": lambda caller, outcome: None,
}
