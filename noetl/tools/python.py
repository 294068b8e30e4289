"""The `python` tool: code in a fresh namespace, and its `main`."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import importlib
import inspect
import json
import os
import sys
import traceback
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from noetl.playbook.arguments import MissingArgument, python_arguments
from noetl.playbook.python_code import Parameters, main_parameters
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.python_hints import hint_of

FILENAME = "<code>"
MODULE = "playbook_code"
_FRAMES = 10
_SHOWN = 200
_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
_REST = inspect.Parameter.VAR_POSITIONAL
_KEYWORDS = inspect.Parameter.VAR_KEYWORD


def ready(call: Call) -> None:
    """Compile the code and import its libraries, which takes a while once; what is wrong with them is the call's to say."""
    _read(call.config["code"])
    if libs := call.config.get("libs"):
        with contextlib.suppress(Exception, SystemExit):
            _libraries(libs)


def run(call: Call) -> Json:
    """Run the code and return what `main` returns, else its variable `result`."""
    module = types.ModuleType(MODULE)
    namespace = module.__dict__
    sys.modules[MODULE] = module
    try:
        namespace.update(os=os, json=json, datetime=datetime, uuid=uuid, context=call.scope, args=call.args)
        if "data" in call.config:
            namespace["data"] = call.config["data"]
        namespace.update(call.args)
        namespace.update(_libraries(call.config.get("libs")))
        return _result(namespace, call)
    except ToolError:
        raise
    except MemoryError:
        raise
    except BaseException as error:
        raise _failure(error, call.config["code"]) from error
    finally:
        sys.modules.pop(MODULE, None)


def _result(namespace: dict[str, Any], call: Call) -> Json:
    exec(_compiled(call.config["code"]), namespace)  # noqa: S102 - running the step's code is what this tool is for
    main = namespace.get("main")
    if callable(main):
        positional, named = arguments(main, call)
        result = main(*positional, **named)
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result
    if "result" in namespace:
        return namespace["result"]
    return {"status": "success", "message": "the code ran; it defines neither main nor result"}


async def _awaited(result: Any) -> Json:
    return await result


@functools.lru_cache(maxsize=256)
def _read(code: str) -> None:
    with contextlib.suppress(Exception):
        _compiled(code)
        main_parameters(code)


@functools.lru_cache(maxsize=256)
def _compiled(code: str) -> types.CodeType:
    return compile(code, FILENAME, "exec", dont_inherit=True)


def arguments(main: Any, call: Call) -> tuple[list[Any], dict[str, Any]]:
    """Return what `main` is called with: what it takes by position, what it takes by name."""
    parameters, by_position = _parameters(main, call.config["code"])
    try:
        found = python_arguments(parameters, call.args, _Names(call))
    except MissingArgument as error:
        raise ToolError(error.message, error.hint, type=error.code) from error
    if "context" in found:
        found["context"] = call.scope
    return [found.pop(name) for name in by_position if name in found], found


class _Names(Mapping[str, Any]):
    """The names that `main` may take from the context; looking one up may fetch it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __getitem__(self, name: str) -> Any:
        return self._call.context(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._call.scope)

    def __len__(self) -> int:
        return len(self._call.scope)


def _parameters(main: Any, code: str) -> tuple[Parameters, list[str]]:
    """Return what `main` takes, and which of that by position only: as its text says, where `main` is what the text defines."""
    if type(main) is types.FunctionType and not main.__code__.co_posonlyargcount and not hasattr(main, "__wrapped__"):
        written = main_parameters(code)
        count = main.__code__.co_argcount + main.__code__.co_kwonlyargcount
        if written is not None and main.__code__.co_varnames[:count] == written.names:
            return written, []
    taken = list(inspect.signature(main).parameters.values())
    named = [parameter for parameter in taken if parameter.kind not in (_REST, _KEYWORDS)]
    names = tuple(parameter.name for parameter in named)
    kinds = {parameter.kind for parameter in taken}
    required = tuple(parameter.name for parameter in named if parameter.default is inspect.Parameter.empty)
    parameters = Parameters(names, required, keywords=_KEYWORDS in kinds, varargs=_REST in kinds, takes_context="context" in names)
    return parameters, [parameter.name for parameter in taken if parameter.kind is _POSITIONAL]


def _libraries(libs: Json) -> dict[str, Any]:
    if not libs:
        return {}
    if not isinstance(libs, Mapping):
        raise ToolError("libs is a mapping: alias: module, or alias: {from: module, import: name}", type="config")
    found = {}
    for alias, source in libs.items():
        if isinstance(source, Mapping):
            found[alias] = getattr(importlib.import_module(source["from"]), source["import"])
        else:
            found[alias] = importlib.import_module(source)
    return found


def _failure(error: BaseException, code: str) -> ToolError:
    """Say what was raised and in which line of the code; frames of libraries are left out."""
    lines = code.splitlines()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILENAME]
    name = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename == FILENAME and error.lineno:
        return ToolError(f"{name}: {error.msg} (line {error.lineno} of the code)", type=name)
    what = f"the code called sys.exit({error.code!r})" if isinstance(error, SystemExit) else _text(error)
    message, hint = f"{name}: {what}" if what else name, hint_of(error, FILENAME)
    if not frames:
        return ToolError(message, hint, type=name)
    failure = ToolError(f"{message} (line {frames[-1].lineno} of the code)", hint, type=name)
    failure.details["traceback"] = "\n".join(_frame(frame, lines) for frame in frames[-_FRAMES:])
    return failure


def _frame(frame: traceback.FrameSummary, lines: list[str]) -> str:
    number = frame.lineno or 0
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"line {number}, in {frame.name}: {shown}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<an exception that cannot be printed>"
