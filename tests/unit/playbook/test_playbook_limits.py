"""What is too much in a playbook is refused with the number, the limit and what to do instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noetl.errors import PlaybookError
from noetl.playbook.check import NAME_LENGTH
from noetl.playbook.parse import parse
from noetl.playbook.steps import MAX_STEPS, MAX_VARIABLES

WORK = {"kind": "python", "code": "result = 1"}
LONG = "n" * (NAME_LENGTH + 1)


def playbook(workflow: list[Any], **more: Any) -> str:
    return json.dumps({"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "much"}, "workflow": workflow, **more})


def problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(PlaybookError) as raised:
        parse(text, "much")
    return [(problem["message"], problem["hint"]) for problem in raised.value.details["problems"]]


def test_the_number_of_steps() -> None:
    steps: list[Any] = [{"step": "start", "tool": WORK}, *({"step": f"s{n}", "tool": WORK} for n in range(MAX_STEPS - 1))]
    assert len(parse(playbook(steps), "much").steps) == MAX_STEPS
    more = [*steps, {"step": "one", "tool": WORK}, {"step": "two", "tool": WORK}]
    hint = "move some of them to a playbook of their own: tool: {kind: playbook, path: …}"
    assert problems(playbook(more)) == [("there are 5,002 steps; at most 5,000 are possible", hint)]


def test_the_number_of_variables() -> None:
    names = [f"v{n}" for n in range(MAX_VARIABLES)]
    rule = {"when": "{{ true }}", "then": [{"set": {names[0]: 1}}, {"collect": {"path": "a", "into": names[1]}}]}
    step = {"step": "start", "tool": WORK, "vars": dict.fromkeys(names, "{{ result }}"), "case": [rule]}
    assert not parse(playbook([step]), "much").warnings
    more = {**step, "case": [{"when": "{{ true }}", "then": {"set": {"another": 1}}}]}
    hint = "keep what belongs together in one variable, a mapping"
    assert problems(playbook([more])) == [("the playbook has more than 1,000 variables; at most so many are possible", hint)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (playbook([{"step": "start", "tool": WORK}], metadata={"name": LONG}), "`name` of `metadata`"),
        (playbook([{"step": "start", "tool": WORK}], metadata={"name": "a", "path": LONG}), "`path` of `metadata`"),
        (playbook([{"step": "start", "tool": WORK}, {"step": LONG, "tool": WORK}]), "the name of a step"),
    ],
)
def test_the_length_of_names(text: str, what: str) -> None:
    assert problems(text) == [(f"{what} has to be one line of at most 200 characters", "it has 201 characters")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (playbook([{"step": "start", "tool": WORK}], workload={LONG: 1}), "`workload`"),
        (playbook([{"step": "start", "tool": WORK, "vars": {LONG: 1}}]), "`vars` of the step `start`"),
        (playbook([{"step": "start", "tool": WORK, "args": {LONG: 1}}]), "`args` of the step `start`"),
        (playbook([{"step": "start", "tool": WORK, "case": [{"when": "{{ true }}", "then": {"set": {LONG: 1}}}]}]), "`set`"),
    ],
)
def test_the_length_of_keys_that_are_names(text: str, what: str) -> None:
    message = f"a name in {what} has 201 characters; at most 200 are possible"
    assert problems(text) == [(message, "choose a shorter one, and put the text into its value")]


def test_a_name_of_two_lines() -> None:
    (problem,) = problems(playbook([{"step": "start", "tool": WORK}, {"step": "a\nb", "tool": WORK}]))
    assert problem == ("the name of a step has to be one line of at most 200 characters", "leave out line breaks and control characters")


def test_keys_inside_of_values_are_data() -> None:
    assert parse(playbook([{"step": "start", "tool": WORK}], workload={"data": {LONG: 1}}), "much").workload == {"data": {LONG: 1}}
