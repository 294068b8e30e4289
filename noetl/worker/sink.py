"""What a sink is given: the names of its templates, and the data to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.playbook.arguments import parse_json_text
from noetl.playbook.expression import Problem, Templates
from noetl.playbook.model import Json


def names(sink: Mapping[str, Any], scope: Mapping[str, Any], templates: Templates) -> dict[str, Any]:
    """Return `this`, `response`, `result` and `data`, and `error` where there is one, for the result of a call in `scope`."""
    found: dict[str, Any] = {}
    full = scope.get("this", scope.get("response"))
    if "this" in scope or "response" in scope:
        found |= {"this": full, "response": full, "result": unwrapped(full)}
    if isinstance(scope.get("error"), dict):
        found["error"] = Problem(scope["error"])
    if sink["has_data"]:
        found["data"] = parse_json_text(templates.render(sink["data"], {**scope, **found}))
    else:
        found["data"] = unwrapped(full)
    return found


def unwrapped(result: Json) -> Json:
    """Return what a result holds: its `data`, where it is a mapping that has any, else the result itself."""
    if isinstance(result, Mapping) and result.get("data") is not None:
        return result["data"]
    return result
