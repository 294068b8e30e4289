"""What holds for any playbook and any order in which its commands end."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from engine_caller import Caller, playbook
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from noetl.engine.inputs import Cancel, Done, Failed, Input, Pause, Resume, Start, Wake, Withdrawn
from noetl.engine.outcome import Command, Outcome
from noetl.engine.state import TERMINAL, State, encode
from noetl.engine.turn import IllegalInput
from noetl.engine.value import Value

Json = Any
WORK = {"kind": "python", "code": "result = 1"}
SINK = {"tool": "python", "code": "def main(data): pass"}
ERROR = {"message": "it broke", "type": "tool"}
MOST_COMMANDS = 400
PAUSES = ("playbook.paused", "playbook.resumed")


@dataclass
class World:
    """A playbook, and how each step and item of it ends, whenever it does."""

    text: str
    broken: frozenset[tuple[str, int | None]]

    def result(self, command: Command) -> int:
        return len(command.step) * 7 + int(command.step[-1:].replace("t", "0").replace("d", "1")) * 3 + (command.item or 0)


@st.composite
def worlds(draw: st.DrawFn, failing: bool = False) -> World:
    size = draw(st.integers(1, 5))
    names = ["start", *(f"s{number}" for number in range(1, size))]
    workflow = [draw(steps(name, names[number + 1 :])) for number, name in enumerate(names)]
    if draw(st.booleans()):
        read = ", ".join(names[1:])
        end: dict[str, Json] = {"step": "end", "vars": {"seen": "{{ [" + read + "] }}", "start_seen": "{{ start }}"}}
        workflow.append({**end, "tool": WORK} if draw(st.booleans()) else end)
    places = [(step["step"], item) for step in workflow for item in ([None] if "loop" not in step else range(4))]
    broken = draw(st.sets(st.sampled_from(places), max_size=2)) if failing else set()
    return World(playbook(workflow), frozenset(broken))


@st.composite
def steps(draw: st.DrawFn, name: str, later: list[str]) -> dict[str, Json]:
    targets = st.lists(st.sampled_from(later), max_size=2, unique=True) if later else st.just([])
    step: dict[str, Json] = {"step": name, "tool": WORK, "vars": {f"v_{name}": "{{ result }}"}}
    if following := draw(targets):
        step["next"] = [{"step": target, "args": {"from": name}} for target in following]
    if draw(st.integers(0, 2)) == 0:
        items = list(range(draw(st.integers(0, 4))))
        step["loop"] = {"in": items, "iterator": "item", "mode": draw(st.sampled_from(["sequential", "parallel"]))}
    rules: list[dict[str, Json]] = []
    if draw(st.booleans()) and (routed := draw(targets)):
        event = draw(st.sampled_from(["call.done", "step.exit", "loop.done", "step.enter"]))
        condition = "" if event in ("loop.done", "step.enter") else f" and result % {draw(st.integers(2, 3))} == 0"
        rules.append({"when": f"{{{{ event.name == '{event}'{condition} }}}}", "then": {"next": routed}})
    if draw(st.booleans()):
        handled = draw(targets)
        rules.append({"when": "{{ event.name == 'call.error' }}", "then": {"next": handled} if handled else {"log": "{{ error }}"}})
    if draw(st.integers(0, 3)) == 0:
        rules.insert(0, {"when": "{{ event.name == 'call.error' }}", "then": {"retry": draw(st.integers(1, 3))}})
    if draw(st.integers(0, 2)) == 0:
        event = draw(st.sampled_from(["call.done", "call.error", "step.exit", "loop.done"]))
        then: list[Json] = [{"sink": SINK}] * draw(st.integers(1, 2)) + [{"result": 7}] * draw(st.integers(0, 1))
        rules.insert(0, {"when": f"{{{{ event.name == '{event}' }}}}", "then": then})
    return {**step, "case": rules} if rules else step


def inputs(caller: Caller, world: World, chance: random.Random) -> Input:
    """Return one of the things that can happen next."""
    wake = caller.wake == 0
    number = chance.randrange(len(caller.open) + wake)
    if number == len(caller.open):
        return Wake(caller.at)
    command = list(caller.open.values())[number]
    if (command.step, command.item) in world.broken:
        return caller.failure(command, ERROR)
    return caller.success(command, None if command.sink is not None else world.result(command))


def withdraw(caller: Caller, chance: random.Random) -> Withdrawn:
    """Cancel some of the open commands, as if no worker had them yet."""
    waiting = [command for command in caller.open.values() if chance.random() < 0.5]
    for command in waiting:
        del caller.open[command.id]
    return Withdrawn(caller.at, caller.state.owed, Counter(command.run for command in waiting))


def play(world: World, chance: random.Random, forgetting: float = 0.0, repeating: float = 0.0) -> Caller:
    """Let things happen in a random order until the execution has ended; what happens may be told twice, and be stopped for a while."""
    caller = Caller(world.text)
    outcome = caller.start({"p": 1})
    check(caller, outcome, Counter())
    withdrawn: Counter[int] = Counter()
    while caller.state.status not in TERMINAL:
        assume(len(caller.issued) < MOST_COMMANDS)
        if chance.random() < forgetting:
            caller.forget()
        given: Input
        if outcome.withdraw:
            given = withdraw(caller, chance)
            withdrawn.update(given.counts)
        else:
            given = inputs(caller, world, chance)
        outcome = caller.give(given)
        check(caller, outcome, withdrawn)
        for again in (given, *stop(caller, given)) if chance.random() < repeating else ():
            outcome = repeat(caller, again) or outcome
            check(caller, outcome, withdrawn)
    return caller


def stop(caller: Caller, given: Input) -> Sequence[Input]:
    """Return a pause and its end, each told twice, where an execution can be paused."""
    if caller.state.status in TERMINAL or caller.state.failure is not None:
        return ()
    return (Pause(caller.at), Pause(caller.at), Resume(caller.at), Resume(caller.at))


def repeat(caller: Caller, given: Input) -> Outcome | None:
    """Tell an input again, that a caller whose answer was lost may tell twice. A report is refused before: its lease has ended with it."""
    if isinstance(given, Done | Failed):
        return None
    before = caller.state
    try:
        return caller.give(given)
    except IllegalInput:
        assert caller.state is before
        return None


def check(caller: Caller, outcome: Outcome, withdrawn: Counter[int]) -> None:
    """Assert what holds at every moment."""
    assert [event.seq for event in caller.events] == list(range(1, len(caller.events) + 1))
    ids = [command.id for command in caller.issued]
    assert ids == sorted(set(ids))
    assert {command.run for command in outcome.commands} <= set(outcome.state.runs)
    for run in outcome.state.runs.values():
        live = sum(command.run == run.id for command in caller.open.values())
        if run.loop is None:
            assert live == 1
        else:
            loop = run.loop
            assert live == (1 if run.suspended else loop.live)
            assert loop.done + loop.failed + withdrawn[run.id] + loop.live + (loop.total - loop.cursor) == loop.total
    for row in caller.loops.values():
        assert 0 <= row.done + row.failed <= row.issued <= row.total
        assert not row.closed or row.done + row.failed + row.cancelled == row.total
    if outcome.state.status in TERMINAL:
        assert not outcome.state.runs and not outcome.commands
        assert all(row.closed for row in caller.loops.values())
        assert outcome.revoke or not caller.open


def end_of(caller: Caller) -> dict[str, Json]:
    """Return what must not depend on the order of things; of a failed execution that is little."""
    if caller.state.status == "FAILED":
        return {"status": "FAILED"}
    return {
        "status": caller.state.status,
        "results": {step: value.get() for step, value in caller.results.items()},
        "variables": caller.variables,
        "commands": Counter((command.step, command.item, str(command.args)) for command in caller.issued),
        "events": Counter((event.type, event.step, event.item, event.status) for event in caller.events if event.type not in PAUSES),
        "loops": Counter((row.step, row.total, row.done, row.failed, row.cancelled) for row in caller.loops.values()),
    }


quickly = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
chances = st.integers(0, 2**32).map(random.Random)


@quickly
@given(worlds(), chances, chances)
def test_any_order_gives_the_same_end(world: World, one: random.Random, other: random.Random) -> None:
    first = play(world, one)
    assert first.state.status == "COMPLETED"
    assert end_of(first) == end_of(play(world, other))


@quickly
@given(worlds(failing=True), chances, chances)
def test_any_order_gives_the_same_status_where_things_fail(world: World, one: random.Random, other: random.Random) -> None:
    assert end_of(play(world, one)) == end_of(play(world, other))


@quickly
@given(worlds(failing=True), st.integers(0, 2**32))
def test_a_state_that_was_stored_and_read_goes_on_alike(world: World, seed: int) -> None:
    kept = play(world, random.Random(seed), forgetting=0)
    stored = play(world, random.Random(seed), forgetting=1)
    assert (kept.state, kept.events, kept.issued, kept.variables) == (stored.state, stored.events, stored.issued, stored.variables)


@quickly
@given(worlds(failing=True), st.integers(0, 2**32), chances)
def test_what_is_told_twice_happens_once(world: World, seed: int, other: random.Random) -> None:
    assert end_of(play(world, random.Random(seed), repeating=1)) == end_of(play(world, other, repeating=0.3)) == end_of(play(world, other))


@quickly
@given(worlds(failing=True), chances, st.integers(0, 8))
def test_an_illegal_input_raises_and_changes_nothing(world: World, chance: random.Random, moves: int) -> None:
    caller = Caller(world.text)
    caller.start()
    for _ in range(moves):
        if caller.state.status in TERMINAL or not (caller.open or caller.wake == 0):
            break
        caller.give(inputs(caller, world, chance))
    state, document = caller.state, encode(caller.state)
    loops = {run.id: run for run in state.runs.values() if run.loop is not None}
    plain = {run.id: run for run in state.runs.values() if run.loop is None}
    illegal: list[Input] = [Start(caller.at, {}), reported(9999, None), reported(9999, 0)]
    illegal += [reported(run, 0) for run in plain] + [reported(run, None) for run in loops]
    illegal += [reported(run, number) for run, found in loops.items() if found.loop for number in (found.loop.cursor, -1)]
    illegal += [reported(run, 0) for run, found in loops.items() if found.loop and not found.loop.live]
    if state.failure is None:
        illegal.append(Withdrawn(caller.at, None, dict.fromkeys(state.runs, 1)))
    if state.owed is not None:
        illegal += [Withdrawn(caller.at, owed, dict.fromkeys(state.runs, 1)) for owed in (None, state.owed - 1, state.owed + 1)]
    if state.status in TERMINAL:
        illegal += [Wake(caller.at), Cancel(caller.at), Withdrawn(caller.at, state.owed), Pause(caller.at), Resume(caller.at)]
    before = copy.deepcopy((caller.variables, caller.workload, caller.items))
    for wrong in illegal:
        with pytest.raises(IllegalInput):
            caller.give(wrong)
    assert caller.state is state
    assert encode(state) == document
    assert (caller.variables, caller.workload, caller.items) == before


def reported(run: int, item: int | None) -> Done:
    return Done(0.0, 1, run, item, Value.of(None))


@quickly
@given(worlds(failing=True), chances, st.integers(0, 8))
def test_cancelling_ends_at_any_moment(world: World, chance: random.Random, moves: int) -> None:
    caller = Caller(world.text)
    caller.start()
    for _ in range(moves):
        if caller.state.status in TERMINAL or not (caller.open or caller.wake == 0):
            break
        caller.give(inputs(caller, world, chance))
    if caller.state.status in TERMINAL:
        return
    running = bool(caller.state.runs)
    outcome = caller.give(Cancel(caller.at, "enough"))
    assert (outcome.state.status, outcome.revoke, outcome.wake) == ("CANCELLED", running, None)
    assert all(row.done + row.failed + row.cancelled == row.total for row in caller.loops.values())


@quickly
@given(worlds(failing=True), chances)
def test_the_deadline_ends_what_failed_and_does_not_finish(world: World, chance: random.Random) -> None:
    caller = Caller(world.text)
    caller.start()
    while caller.state.status not in TERMINAL and caller.state.failure is None:
        assume(len(caller.issued) < MOST_COMMANDS)
        caller.give(inputs(caller, world, chance))
    if caller.state.status not in TERMINAL:
        assert caller.wake == caller.state.deadline == caller.at + 30
        caller.at += 30
        outcome = caller.give(Wake(caller.at))
        assert (outcome.state.status, outcome.revoke) == ("FAILED", True)


@quickly
@given(worlds(), chances)
def test_the_same_inputs_give_the_same_outcomes(world: World, chance: random.Random) -> None:
    caller = Caller(world.text)
    begun = Start(caller.at, {"p": 1})
    caller.payload = begun.payload
    given: Input = begun
    while caller.state.status not in TERMINAL:
        assume(len(caller.issued) < MOST_COMMANDS)
        state: State = caller.state
        again = copy.deepcopy(caller)
        assert caller.give(given) == again.give(given)
        assert state.status not in TERMINAL
        if caller.state.status not in TERMINAL:
            given = inputs(caller, world, chance)
