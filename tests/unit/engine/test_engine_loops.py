"""What a loop loops over."""

from collections.abc import Iterator

import pytest
from engine_caller import Caller, playbook

from noetl.engine import loops
from noetl.engine.advance import advance
from noetl.engine.inputs import Wake, Withdrawn
from noetl.engine.loops import aggregate, as_items
from noetl.engine.scope import Known
from noetl.engine.turn import IllegalInput

WORK = {"kind": "python", "code": "result = 1"}


def letters() -> Iterator[str]:
    yield from "ab"


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (None, []),
        ([], []),
        ([1, [2]], [1, [2]]),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
        (letters(), ["a", "b"]),
        ({}, []),
        ({"a": 1, "b": {"c": 2}}, [["a", 1], ["b", {"c": 2}]]),
        ("text", ["text"]),
        ("", [""]),
        (0, [0]),
        (False, [False]),
        (1.5, [1.5]),
    ],
)
def test_items_of_any_value(value: object, items: list[object]) -> None:
    assert as_items(value) == items


def test_the_result_of_a_loop() -> None:
    assert aggregate([1, None], 1, 1) == {"results": [1, None], "stats": {"total": 2, "success": 1, "failed": 1}}


def test_a_loop_has_a_greatest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "MAX_ITEMS", 2)
    step = {"step": "start", "tool": {"kind": "python", "code": "result = 1"}, "loop": {"in": [1, 2, 3], "iterator": "i"}}
    caller = Caller(playbook([step]))
    caller.start()
    assert caller.state.status == "FAILED"
    assert caller.state.failure == {
        "message": "step start loops over 3 items; at most 2 are possible",
        "type": "too_many_items",
        "hint": "loop over parts of them: `| batch(1000) | list`",
        "step": "start",
    }


def test_a_loop_stays_open_until_its_results_are_known() -> None:
    step = {
        "step": "start",
        "tool": {"kind": "python", "code": "x"},
        "loop": {"in": [1], "iterator": "i"},
        "vars": {"all": "{{ result.results }}"},
    }
    caller = Caller(playbook([step]))
    (command,) = caller.start().commands
    assert caller.done(command, 5).wake == 0
    outcome = advance(caller.plan, caller.state, Wake(0.0), Known("7", "8"))
    assert (outcome.state, outcome.events, outcome.wake) == (caller.state, (), 0)
    assert {name: variable.value for name, variable in caller.give(Wake(0.0)).variables.items()} == {"all": [5]}


def test_a_withdrawal_that_is_told_again_changes_nothing() -> None:
    loop = {"step": "many", "loop": {"in": list(range(6)), "iterator": "n", "limit": 6, "mode": "parallel"}, "tool": WORK}
    caller = Caller(playbook([{"step": "start", "tool": WORK, "next": ["many", "wrong"]}, loop, {"step": "wrong", "tool": WORK}]))
    caller.done(caller.start().commands[0])
    caller.failed(next(command for command in caller.open.values() if command.step == "wrong"), {"message": "no", "type": "tool"})
    many = next(run for run in caller.state.runs.values() if run.step == "many")
    waiting = [command for command in caller.open.values() if command.run == many.id][:2]
    for command in waiting:
        del caller.open[command.id]
    told = Withdrawn(caller.at, caller.state.owed, {many.id: 2})
    caller.give(told)
    after = caller.state
    with pytest.raises(IllegalInput, match="no such withdrawal"):
        caller.give(told)
    assert caller.state is after
    for command in list(caller.open.values()):
        assert caller.state.status == "RUNNING"
        caller.done(command)
    row = caller.loops[many.id]
    assert (caller.state.status, row.done, row.failed, row.cancelled, row.total) == ("FAILED", 4, 0, 2, 6)
