"""Whoever is woken by a failure sees what to do, wherever they look."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from live import Live
from stories import HEAD

Json = Any
MISSPELT = "Check the spelling, or give it a value with `| default(...)`"
STORE = "store it: noetl credential set nobody --type TYPE --file FILE"
FAILURES = {
    "told_routing": (
        '  - {step: start, next: {step: more, args: {x: "{{ nowhere + 1 }}"}}}\n  - {step: more, tool: *work}\n',
        MISSPELT,
    ),
    "told_loop": ('  - {step: start, loop: {in: "{{ nowhere + 1 }}", iterator: n}, tool: *work}\n', MISSPELT),
    "told_step": ("  - {step: start, tool: {kind: http, url: 'http://127.0.0.1:1/', auth: nobody}}\n", STORE),
    "told_child": ("  - {step: start, tool: {kind: playbook, path: tests/nobody}}\n", "register it: noetl catalog register FILE"),
    "told_of_child": ("  - {step: start, tool: {kind: playbook, path: tests/told_step}}\n", STORE),
}


@pytest.fixture(scope="module")
def told(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    with make_live({}) as one:
        one.server()
        one.worker()
        yield one


def noetl(live: Live, *words: str) -> str:
    """Run a verb, and return what it prints."""
    more = {"NOETL_SERVER_URL": live.a_server.url}
    done = subprocess.run([sys.executable, "-m", "noetl.cli", *words], env=live.environ(more), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.parametrize("name", FAILURES)
def test_a_hint_goes_wherever_its_error_goes(told: Live, name: str, tmp_path: Path) -> None:
    steps, hint = FAILURES[name]
    file = tmp_path / "told.yaml"
    text = HEAD.format(name=name) + steps.replace("*work", "{kind: python, code: result = 1}")
    file.write_text(text)
    if name == "told_of_child":
        told.register(HEAD.format(name="told_step") + FAILURES["told_step"][0])
    shown = noetl(told, "run", str(file))
    assert f"\n  {hint}\n" in shown
    (execution,) = (one["execution_id"] for one in told.api.get("/api/executions", path=f"tests/{name}", limit=1)["executions"])

    for path in ("status", "steps"):
        assert told.api.get(f"/api/executions/{execution}/{path}")["error"]["hint"] == hint
    events = {event["event_type"]: event for event in told.api.get(f"/api/executions/{execution}/events")["events"]}
    assert events["playbook.failed"]["error"]["hint"] == hint
    if name != "told_routing":
        assert events["call.error"]["error"]["hint"] == hint
    why = told.api.get(f"/api/executions/{execution}/why")
    assert (why["last_error"]["hint"], why["reasons"][0]["hint"]) == (hint, hint)
    for verb in ("status", "why"):
        assert hint in " ".join(noetl(told, "execution", verb, execution).split())
