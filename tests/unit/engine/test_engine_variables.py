"""Variables: one that is too large fails its step."""

from __future__ import annotations

from typing import Any

import pytest
from engine_caller import Caller, playbook

from noetl.engine.turn import MAX_VARIABLE

LARGE = "x" * MAX_VARIABLE
WORK = {"kind": "python", "code": "result = 1"}


@pytest.mark.parametrize(
    ("keeps", "where"),
    [
        ({"vars": {"kept": "{{ result }}"}}, "`vars`"),
        ({"case": [{"when": "{{ event.name == 'call.done' }}", "then": {"set": {"kept": "{{ result }}"}}}]}, "`set` of kept"),
        ({"case": [{"when": "{{ event.name == 'call.done' }}", "then": {"set": {"ctx": {"a": "{{ result }}"}}}}]}, "`set` of ctx"),
        ({"case": [{"when": "{{ event.name == 'call.done' }}", "then": {"collect": {"from": "result", "into": "kept"}}}]}, "`collect`"),
    ],
    ids=["vars", "set", "ctx", "collect"],
)
def test_a_variable_that_is_too_large_fails_its_step(keeps: dict[str, Any], where: str) -> None:
    caller = Caller(playbook([{"step": "start", "tool": WORK, **keeps}, {"step": "end", "tool": WORK}]))
    caller.start()
    (command,) = caller.open.values()
    outcome = caller.done(command, LARGE)
    assert outcome.state.status == "FAILED"
    error = dict(outcome.state.failure or {})
    assert (error["step"], error["type"]) == ("start", "too_large")
    assert error["message"].startswith(f"{where}: the variable ")
    assert "at most 16,777,216 are possible" in error["message"]
    assert outcome.commands == ()


def test_one_that_just_fits_is_kept() -> None:
    caller = Caller(playbook([{"step": "start", "tool": WORK, "vars": {"kept": "{{ result }}"}}]))
    caller.start()
    (command,) = caller.open.values()
    outcome = caller.done(command, LARGE[:-2])
    assert outcome.state.status == "COMPLETED"
    assert len(outcome.variables["kept"].raw) == MAX_VARIABLE
