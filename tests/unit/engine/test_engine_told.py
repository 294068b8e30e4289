"""What a template spoils is told with the place where it stands."""

from __future__ import annotations

from typing import Any

import pytest
from engine_caller import Caller, playbook

WORK = {"kind": "python", "code": "result = 1"}
SPOILED = "{{ 1 / 0 }}"


@pytest.mark.parametrize(
    ("then", "where"),
    [
        ({"set": {"a": 1, "b": SPOILED}}, "`set` of b"),
        ({"set": {"ctx": {"a": SPOILED}}}, "`set` of ctx"),
        ({"result": [SPOILED]}, "`result`"),
        ({"log": SPOILED}, "`log`"),
        ({"collect": {"from": SPOILED}}, "`collect`"),
        ({"retry": {"params": {"a": SPOILED}}}, "`retry`"),
        ({"fail": SPOILED}, "`fail`"),
        ({"next": {"step": "each", "args": {"a": SPOILED}}}, "args of `next` to each"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_action_that_cannot_be_rendered(then: dict[str, Any], where: str) -> None:
    start = {"step": "start", "tool": WORK, "case": [{"when": "{{ event.name == 'call.done' }}", "then": then}]}
    each = {"step": "each", "tool": WORK}
    failure = ended(Caller(playbook([start, each])))
    assert failure["message"] == f"{where}: template `{SPOILED}`: ZeroDivisionError: division by zero"
    assert (failure["step"], failure["type"]) == ("start", "template")


def test_the_items_of_a_loop_that_cannot_be_rendered() -> None:
    each = {"step": "each", "tool": WORK, "loop": {"in": SPOILED, "iterator": "i"}}
    failure = ended(Caller(playbook([{"step": "start", "tool": WORK, "next": "each"}, each])))
    assert failure["message"] == f"`loop`: template `{SPOILED}`: ZeroDivisionError: division by zero"
    assert failure["step"] == "each"


def ended(caller: Caller) -> dict[str, Any]:
    """Play until the first step is done, and return the execution's failure."""
    caller.start()
    (command,) = caller.open.values()
    outcome = caller.done(command, {})
    assert outcome.state.status == "FAILED"
    return dict(outcome.state.failure or {})
