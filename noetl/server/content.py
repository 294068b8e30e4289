"""What a worker is told of a command: the names that its tool's templates and code use, and no more."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from noetl.engine.plan import Plan, Uses
from noetl.engine.routing import loop_names
from noetl.engine.value import Value, dumps
from noetl.playbook.model import Step
from noetl.playbook.uses import free_names, main_parameters, names
from noetl.server.execution import Execution, Issued
from noetl.server.loader import Loader

Json = Any
CODE_FIELDS = ("code", "code_b64", "code_base64")
WHOLE = ("workload", "payload", "vars", "steps")
"""Names that travel with only those of their keys that are used, where only keys are used."""


class Contents:
    """Builds what workers are told; remembers which names each step's tool uses."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._uses: WeakKeyDictionary[Plan, dict[str, Uses]] = WeakKeyDictionary()

    def uses(self, plan: Plan, step: str) -> Uses:
        """Return the names that a step's tool uses."""
        known = self._uses.setdefault(plan, {})
        if step not in known:
            known[step] = tool_uses(plan.steps[step].step)
        return known[step]

    async def command(self, execution: Execution, command_id: int, fence: int, attempt: int) -> dict[str, Json]:
        """Return a leased command as its worker gets it."""
        issued = execution.commands[command_id]
        uses = self.uses(execution.plan, issued.step)
        await self._loader.names(execution, uses)
        scope, partial = await self._scope(execution, issued, uses)
        return {
            "execution_id": str(execution.id),
            "command_id": command_id,
            "fence": fence,
            "attempt": attempt,
            "catalog_id": str(execution.catalog_id),
            "step": issued.step,
            "run_args": await self._args(execution, issued),
            "scope": scope,
            "partial": partial,
        }

    async def name(self, execution: Execution, name: str) -> Value | None:
        """Return the value of one name that did not travel with a command; None if there is none."""
        await self._loader.names(execution, frozenset({(name, None)}))
        scope: dict[str, Json] = {}
        _add(scope, execution, name, None)
        if name not in scope:
            return None
        return Value(dumps(scope[name]))

    async def _args(self, execution: Execution, issued: Issued) -> Mapping[str, Json]:
        args, loop_results = issued.args, issued.loop_results
        if issued.item is not None:
            loop = await self._loader.loop(execution, issued.run)
            args, loop_results = loop.args, loop.loop_results
        if loop_results is None or "loop_results" in args:
            return args
        aggregate = await self._loader.aggregate(execution, loop_results)
        return {**args, "loop_results": orjson.Fragment(aggregate.raw())}

    async def _scope(self, execution: Execution, issued: Issued, uses: Uses) -> tuple[dict[str, Json], list[str]]:
        scope: dict[str, Json] = {}
        keys: dict[str, set[str]] = {}
        for root, attribute in uses:
            if root in WHOLE and attribute is not None:
                keys.setdefault(root, set()).add(attribute)
            else:
                _add(scope, execution, root, None)
        for root, wanted in keys.items():
            _add(scope, execution, root, wanted)
        if issued.item is not None:
            loop = await self._loader.loop(execution, issued.run)
            items = await self._loader.items(execution, issued.run)
            scope[loop.iterator] = items[issued.item]
            scope["loop_index"] = issued.item
            scope["loop"] = loop_names(issued.item, loop.total)
        return scope, sorted(keys)


def tool_uses(step: Step) -> Uses:
    """Return the names that a step's tool uses: in its templates, and as parameters or globals of its python code."""
    assert step.tool is not None
    used = set(names([dict(step.tool.config), dict(step.tool.args), dict(step.args)]))
    if step.tool.kind == "python":
        used |= {(name, None) for name in _python_names(step.tool.config)}
    given = {*step.tool.args, *step.args}
    return frozenset(
        (root, attribute) for root, attribute in used if root not in given or attribute is not None or root in _template_roots(step)
    )


def _template_roots(step: Step) -> set[str]:
    assert step.tool is not None
    return {root for root, _ in names([dict(step.tool.config), dict(step.tool.args), dict(step.args)])}


def _python_names(config: Mapping[str, Json]) -> Iterable[str]:
    code = _code(config)
    if code is None:
        return ()
    parameters = main_parameters(code)
    if parameters is None:
        return free_names(code)
    return parameters.names


def _code(config: Mapping[str, Json]) -> str | None:
    for field in CODE_FIELDS:
        code = config.get(field)
        if isinstance(code, str):
            if field == "code":
                return code
            try:
                return base64.b64decode(code).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def _add(scope: dict[str, Json], execution: Execution, root: str, keys: set[str] | None) -> None:
    match root:
        case "execution_id" | "catalog_id" | "job" | "env" | "now":
            return
        case "workload" | "payload" | "vars":
            whole = {"workload": execution.workload, "payload": execution.payload, "vars": execution.variables or {}}[root]
            scope[root] = whole if keys is None else {key: whole[key] for key in keys if key in whole}
        case "steps":
            wanted = execution.plan.step_names if keys is None else keys
            scope[root] = {step: _fragment(value) for step in wanted if (value := execution.results.get(step)) is not None}
        case "spec":
            scope[root] = execution.plan.playbook.spec
        case "ctx":
            scope[root] = (execution.variables or {}).get("ctx", execution.workload.get("ctx", {}))
        case _:
            value = execution.results.get(root)
            if value is not None:
                scope[root] = _fragment(value)
            elif execution.variables and root in execution.variables:
                scope[root] = execution.variables[root]
            elif root in execution.workload:
                scope[root] = execution.workload[root]


def _fragment(value: Value) -> orjson.Fragment:
    return orjson.Fragment(value.raw())
