"""What a step's error says of what to type or to change next."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.errors import MOST_HINT

Json = Any
REPORTED = [
    ({"status": "error", "error": {"message": "no stock", "hint": "order more"}}, "order more"),
    ({"status": "error", "message": "no stock", "hint": "order more"}, "order more"),
    ({"status": "error", "error": {"message": "no stock"}, "hint": "order more"}, "order more"),
    ({"status": "error", "error": "no stock", "hint": ["order", "more"]}, None),
    ({"status": "error", "error": "no stock"}, None),
]


@pytest.mark.parametrize(("result", "hint"), REPORTED)
async def test_a_result_that_reports_a_failure_may_say_what_to_do(bench: Any, result: Json, hint: str | None) -> None:
    outcome = await bench.python(f"result = {result!r}")
    assert (outcome.error["type"], outcome.error["message"], outcome.error.get("hint")) == ("reported", "no stock", hint)


async def test_a_hint_is_masked_and_bounded(bench: Any) -> None:
    bench.credentials["api"] = {"token": "canary-7f3a9e-Secret"}
    code = "result = {'status': 'error', 'message': 'no', 'hint': 'use ' + %s}"
    args = {"token": "{{ token('api') }}"}
    outcome = await bench.python(code % "token + '!'", args=args)
    assert outcome.error["hint"] == "use ***!"
    cut = await bench.python(code % f"'x' * {MOST_HINT - 15} + token", args=args)
    assert cut.error["hint"] == f"use {'x' * (MOST_HINT - 15)}***..."


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        ("{{ nowhere + 1 }}", "Check the spelling, or give it a value with `| default(...)`"),
        ("{{ 1 + 'a' }}", "Check the types of its values: `| int`, `| float` and `| string` convert, `a ~ b` joins texts"),
        ("{{ 1 + }}", "Correct the template; text that is none goes between {% raw %} and {% endraw %}"),
    ],
)
async def test_a_template_that_fails_says_what_to_do(bench: Any, template: str, hint: str) -> None:
    outcome = await bench.python("result = 1", args={"x": template})
    assert (outcome.error["type"], outcome.error["hint"]) == ("template", hint)


async def test_a_missing_argument_and_an_entry_of_the_keychain_keep_their_hints(bench: Any) -> None:
    missing = await bench.python("def main(first, second): return first")
    assert (missing.error["type"], missing.error["hint"]) == ("missing_argument", "Add it to the step's args: first: …")
    entry = {"name": "key", "kind": "static", "config": {"map": {"a": "{{ nowhere + 1 }}"}}}
    broken = await bench.python("result = x", args={"x": "{{ keychain.key.a }}"}, keychain=(entry,))
    assert broken.error["message"].startswith("keychain entry key: ")
    assert broken.error["hint"].startswith("Check the spelling")
