"""What is legal and probably not meant is warned of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noetl.playbook.parse import parse

WORK = {"kind": "python", "code": "result = 1"}


def warnings(step: dict[str, Any]) -> list[str]:
    document = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "doubts"}}
    document |= {"keychain": [{"name": "api", "kind": "static", "map": {"key": 1}}]}
    text = json.dumps({**document, "workflow": [{"step": "start", "tool": WORK, **step}, {"step": "b", "tool": WORK}]})
    return [warning.partition(": ")[2] for warning in parse(text, "doubts").warnings]


def rule(when: str, **then: Any) -> dict[str, Any]:
    return {"case": [{"when": when, "then": then or {"next": "b"}}]}


def test_a_variable_that_a_step_hides() -> None:
    assert warnings({"vars": {"start": 1, "other": 2}}) == [
        "the variable `start` is hidden by the result of the step of that name; read it as vars.start"
    ]


@pytest.mark.parametrize(
    ("step", "name", "word"),
    [
        (rule("{{ result.n != args.n }}"), "args", "case"),
        (rule("{{ true }}", set={"n": "{{ args.n }}"}), "args", "case"),
        ({"vars": {"n": "{{ args.n }}"}}, "args", "vars"),
        ({"next": {"step": "b", "args": {"n": "{{ loop_results.stats.success }}"}}}, "loop_results", "next"),
        ({"vars": {"n": "{{ keychain.api.key }}"}}, "keychain", "vars"),
        ({"when": "{{ keychain.api.key }}"}, "keychain", "when"),
        ({"loop": {"in": "{{ [keychain.api.key] }}", "iterator": "i"}}, "keychain", "loop"),
    ],
)
def test_names_that_rules_do_not_see(step: dict[str, Any], name: str, word: str) -> None:
    (warning,) = warnings(step)
    assert warning.startswith(f"`{name}` is known in ")
    assert warning.endswith(f", and is nothing in `{word}` of the step `start`")


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("{{ event.name == 'call.done' and response.links.next }}", "response.links.next"),
        ("{{ event.name == 'call.done' and response.data.next_cursor }}", "response.data.next_cursor"),
        ("{{ response.next_url }}", "response.next_url"),
    ],
)
def test_a_text_that_is_taken_for_a_truth(when: str, text: str) -> None:
    assert warnings(rule(when)) == [f"`{text}` is a text, and counts as true only if it says true, 1 or yes: write {text} is not none"]


@pytest.mark.parametrize(
    "step",
    [
        rule("{{ event.name == 'call.done' and response.data.paging.hasMore }}"),
        rule("{{ response.links.next is not none }}"),
        rule("{{ response.next_cursor != None and response.next_cursor }}x"),
        rule(
            "{{ true }}",
            sink={"tool": "http", "url": "http://a", "headers": {"k": "{{ keychain.api.key }}"}, "data": {"n": "{{ args.n }}"}},
        ),
        {"args": {"n": "{{ args.n }}"}, "when": "{{ args.n }}", "loop": {"in": "{{ loop_results.results }}", "iterator": "i"}},
        {"vars": {"n": "{% for args in [1] %}{{ args }}{% endfor %}"}},
    ],
)
def test_what_is_meant(step: dict[str, Any]) -> None:
    assert warnings(step) == []


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("{{ event.name == 'cal.done' }}", "rules do not see an event `cal.done`: did you mean `call.done`?"),
        ("{{ event.name in ['step.exit', 'command.failed'] }}", "rules do not see an event `command.failed`: known here: call.done, "),
        ("{{ x and event.name == 'loop.done' }}", "the step `start` has no `loop`, and so no event `loop.done`"),
    ],
)
def test_an_event_that_never_comes(when: str, said: str) -> None:
    (warning,) = warnings(rule(when))
    assert warning.startswith(said)


def test_events_that_come() -> None:
    assert warnings(rule("{{ event.name in ['step.enter', 'call.done', 'call.error', 'step.exit'] and event.step == 'cal' }}")) == []
    assert warnings({**rule("{{ event.name == 'loop.done' }}"), "loop": {"in": [1], "iterator": "i"}}) == []


@pytest.mark.parametrize("again", [{"max_attempts": 3, "delay": 0}, 3, True])
def test_a_retry_that_repeats_nothing(again: Any) -> None:
    text = "to call again what has not, write retry: {params: {}, max_attempts: …}"
    for then in ({"retry": again}, [{"log": "a"}, {"retry": again}]):
        (warning,) = warnings({"case": [{"when": "{{ event.name == 'call.done' and result.busy }}", "then": then}]})
        assert warning == f"`retry` repeats what has failed, and this rule sees call.done only: {text}"
    assert warnings(rule("{{ event.name == 'call.error' }}", retry=again)) == warnings(rule("{{ error.status == 500 }}", retry=again)) == []
    assert warnings(rule("{{ event.name == 'call.done' and result.busy }}", retry={"params": {}, "max_attempts": 3})) == []


def said(keychain: list[dict[str, Any]], **more: Any) -> list[str]:
    """Return what a playbook with a keychain is warned of."""
    step = {"step": "start", "tool": {**WORK, "args": {"a": "{{ keychain.api.key }}", "b": "{{ keychain['apo'].key }}"}}}
    document = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": "doubts"}, "workflow": [step], **more}
    return [warning.partition(": ")[2] for warning in parse(json.dumps({**document, "keychain": keychain}), "doubts").warnings]


def test_an_entry_that_the_keychain_has_not() -> None:
    assert said([{"name": "api", "kind": "bearer", "token": "t"}]) == [
        "the keychain has no entry `apo`, and so it is nothing: did you mean `api`?"
    ]
    none = "and so it is nothing: the playbook has no `keychain`"
    assert said([]) == [f"the keychain has no entry `api`, {none}", f"the keychain has no entry `apo`, {none}"]


def test_entries_that_read_what_is_not_ahead_of_them() -> None:
    entries = [
        {"name": "apo", "kind": "bearer", "token": "{{ keychain.api.key }}"},
        {"name": "api", "kind": "static", "map": {"key": "{{ keychain.apo.token }}", "own": "{{ keychain.ap.x }}"}},
    ]
    ahead = "which is not ahead of it, and so is nothing"
    assert said(entries) == [
        f"the keychain's entry `apo` reads `api`, {ahead}: write it ahead of `apo`",
        f"the keychain's entry `api` reads `ap`, {ahead}: did you mean `apo`?",
    ]


def test_secrets_that_the_end_of_an_execution_does_not_see() -> None:
    keychain = [{"name": name, "kind": "bearer", "token": "t"} for name in ("api", "apo")]
    read = {"output": "{{ keychain.api.key }}", "on_failure": {"step": "start", "args": {"k": "{{ keychain.api.key }}"}}}
    assert said(keychain, **read) == [
        f"`keychain` is known in tools and sinks, and is nothing in `{word}` of the playbook" for word in ("output", "on_failure")
    ]


def test_a_sink_whose_code_is_no_python_is_only_warned_of() -> None:
    said = "the code of a sink of kind `python` is no Python, in its line 2: invalid syntax: did you mean `return`?"
    code = "def main(data):\n    retrun data"
    assert warnings({"case": [{"when": True, "then": {"sink": {"tool": "python", "code": code}}}]}) == [said]
    assert warnings({"case": [{"when": True, "then": {"sink": {"tool": {"kind": "python", "code": code}}}}]}) == [said]
    assert warnings({"case": [{"when": True, "then": {"sink": {"tool": "python", "code": f"{code} + {{{{ x }}}}"}}}]}) == []
