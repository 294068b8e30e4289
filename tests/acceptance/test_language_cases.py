"""Every playbook in tests/cases/playbooks ends as its `x-expect` says: status, output, results, variables, how often steps were entered.

`@HTTP@` in its payload is the address of the routes of web_routes.py, of which `asked` in `x-expect` tells how often each had a request.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from live import Live
from web_routes import Web, serving

MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
FILES = sorted((Path(__file__).parents[1] / "cases" / "playbooks").glob("*.yaml"))


@pytest.fixture(scope="module")
def platform(make_live: MakeLive) -> Iterator[Live]:
    with make_live() as one:
        one.server()
        one.worker("cases-1")
        for path in FILES:
            one.register(path.read_text())
        yield one


@pytest.fixture(scope="module")
def web(shared_playbooks: Path) -> Iterator[Web]:
    with serving(shared_playbooks / "files") as one:
        yield one


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_playbook_ends_as_it_says(platform: Live, web: Web, path: Path) -> None:
    web.forget()
    text = path.read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    expected = document["x-expect"]
    finished = platform.run(text, json.loads(json.dumps(document.get("x-payload")).replace("@HTTP@", web.url)))
    execution_id = finished["execution_id"]
    assert finished["status"] == expected["status"], finished["error"]
    if "error" in expected:
        assert expected["error"] in finished["error"]["message"]
    if "output" in expected:
        assert finished["output"] == expected["output"]
    for step, result in expected.get("results", {}).items():
        assert platform.result(execution_id, step) == result, step
    variables = platform.api.get(f"/api/vars/{execution_id}")["variables"]
    for name, value in expected.get("variables", {}).items():
        assert variables[name]["value"] == value, name
    entries = [event["node_name"] for event in platform.events(execution_id, "step.enter")]
    for step, count in expected.get("entered", {}).items():
        assert entries.count(step) == count, step
    for route, count in expected.get("asked", {}).items():
        assert len(web.asked(route)) == count, route
