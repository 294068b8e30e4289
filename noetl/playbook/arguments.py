"""Arguments: which of them a step's tool gets, and which of them a python `main` gets."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from noetl.errors import NoetlError
from noetl.playbook.model import Json
from noetl.playbook.python_code import Parameters


class MissingArgument(NoetlError):
    """A parameter of `main` for which there is no value."""

    code = "missing_argument"
    http_status = 422


def effective_args(tool_args: Mapping[str, Json], step_args: Mapping[str, Json], run_args: Mapping[str, Json]) -> dict[str, Json]:
    """Lay a step's args over its tool's, and those of the transition over both; a null of the tool only holds a place."""
    return {**tool_args, **step_args, **run_args}


def parse_json_text(value: Json) -> Json:
    """Return what a text says that is a JSON object or array; everything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text.startswith("{") and text.endswith("}")) and not (text.startswith("[") and text.endswith("]")):
        return value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value


def python_arguments(
    parameters: Parameters, args: Mapping[str, Json], scope: Mapping[str, Any], lazy: Container[str] = ()
) -> dict[str, Any]:
    """Return what `main` is called with, by name.

    `context` is the scope; other parameters come from args, else from the scope (`lazy` are names that it has though they are not in it
    yet), else stay at their defaults. A lone required parameter that leads nowhere takes all args; any other is a MissingArgument.
    """
    if parameters.varargs:
        raise MissingArgument("main takes *args, but args have names", "Write them as parameters, or take **kwargs")
    found: dict[str, Any] = {}
    for name in parameters.names:
        if name == "context":
            found[name] = scope
        elif name in args:
            found[name] = args[name]
        elif name in scope or name in lazy:
            found[name] = scope[name]
    absent = [name for name in parameters.required if name not in found]
    if absent and len([name for name in parameters.required if name != "context"]) == 1:
        found[absent.pop()] = dict(args)
    if absent:
        names = ", ".join(repr(name) for name in absent)
        raise MissingArgument(f"main needs {names}, which neither args nor the context have", f"Add it to the step's args: {absent[0]}: …")
    if parameters.keywords:
        found |= {name: value for name, value in args.items() if name not in parameters.names}
    return found
