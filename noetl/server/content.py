"""What a worker is told of a command: the names that its tool's templates and code use, and no more."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from noetl.engine import sinks
from noetl.engine.memo import SinkPoint
from noetl.engine.plan import Plan, Uses
from noetl.engine.value import Stored, Value, dumps
from noetl.engine.visit import loop_names
from noetl.errors import TooLarge
from noetl.playbook.model import Sink, Step
from noetl.playbook.uses import free_names, main_parameters, names
from noetl.server.execution import Execution, Issued
from noetl.server.loader import Loader

Json = Any
CODE_FIELDS = ("code", "code_b64", "code_base64")
WHOLE = ("workload", "payload", "vars", "steps")
"""Names that travel with only those of their keys that are used, where only keys are used."""

SINK_NAMES = frozenset({"this", "result", "response", "data", "event", "error"})


class Contents:
    """Builds what workers are told; remembers which names each step's tool uses."""

    def __init__(self, loader: Loader, limit: int) -> None:
        self._loader = loader
        self._limit = limit
        self._uses: WeakKeyDictionary[Plan, dict[tuple[str, int, int], Uses]] = WeakKeyDictionary()

    def uses(self, plan: Plan, step: str, point: SinkPoint | None) -> Uses:
        """Return the names that a step's tool uses, or one of its sinks, and the playbook's keychain."""
        known = self._uses.setdefault(plan, {})
        place = (step, point.rule, point.number) if point is not None else (step, -1, -1)
        if place not in known:
            found = plan.steps[step].step
            used = tool_uses(found) if point is None else sink_uses(sinks.at(found, point))
            keychain = names([dict(entry.config) for entry in plan.playbook.keychain]) if _uses_keychain(used) else frozenset()
            known[place] = used | keychain
        return known[place]

    async def command(self, execution: Execution, command_id: int, fence: int, attempt: int) -> dict[str, Json]:
        """Return a leased command as its worker gets it."""
        issued = execution.commands[command_id]
        uses = self.uses(execution.plan, issued.step, issued.sink)
        await self._loader.names(execution, uses)
        scope, partial = await self._scope(execution, issued, uses)
        more: dict[str, Json] = {}
        if issued.sink is not None:
            more["sink"] = [issued.sink.rule, issued.sink.number]
            scope |= await self._sink_scope(execution, issued, issued.sink)
        if issued.paging.overrides is not None:
            more["overrides"] = issued.paging.overrides
        run_args = await self._args(execution, issued, scope)
        if apart := _apart(scope, run_args):
            more["stored"] = self._places(issued.step, apart)
        return {
            **more,
            "execution_id": str(execution.id),
            "command_id": command_id,
            "fence": fence,
            "attempt": attempt,
            "catalog_id": str(execution.catalog_id),
            "step": issued.step,
            "run_args": run_args,
            "scope": scope,
            "partial": partial,
        }

    async def handed(self, execution: Execution, commands: Sequence[int]) -> dict[int, orjson.Fragment]:
        """Return commands that are leased to a worker for the first time, as JSON text."""
        return {command: orjson.Fragment(dumps(await self.command(execution, command, 1, 1))) for command in commands}

    def foretold(self, execution: Execution, commands: Sequence[int]) -> dict[int, orjson.Fragment] | None:
        """Return what `handed` does, or None where something would have to be read for it."""
        work = self.handed(execution, commands)
        try:
            work.send(None)
        except StopIteration as done:
            told: dict[int, orjson.Fragment] = done.value
            return told
        work.close()
        return None

    def at_hand(self, execution: Execution, command_id: int) -> bool:
        """Whether everything that a worker is told of a command is in memory: what a commit under way writes cannot be read yet."""
        issued = execution.commands[command_id]
        if issued.sink is not None or issued.loop_results is not None:
            return False
        if issued.item is not None:
            loop = execution.loops.get(issued.run)
            if loop is None or loop.loop_results is not None or issued.run not in execution.items:
                return False
        return self._loader.has(execution, self.uses(execution.plan, issued.step, None))

    async def name(self, execution: Execution, name: str) -> Value | None:
        """Return the value of one name that did not travel with a command; None if there is none."""
        await self._loader.names(execution, frozenset({(name, None)}))
        scope: dict[str, Json] = {}
        _add(scope, execution, name, None)
        if name not in scope:
            return None
        return scope[name] if isinstance(scope[name], Stored) else Value(dumps(scope[name]))

    def _places(self, step: str, apart: Sequence[tuple[list[str], Stored]]) -> list[Json]:
        """Return where the values are that are too large to travel with a command; raise TooLarge where they are too large for a tool."""
        size = sum({value.place: value.size for _, value in apart}.values())
        if size > self._limit:
            names = ", ".join(f"{path[-1]} ({value.size / 1024**2:.1f} MiB)" for path, value in apart)
            raise TooLarge(
                f"step {step} uses {names}: together more than {self._limit / 1024**2:.1f} MiB, "
                "the most that one call gets (NOETL_MAX_RESULT)",
                "let the steps before write to a table or a file and return where, or raise NOETL_MAX_RESULT of servers and workers",
            )
        return [[path, value.address, value.size] for path, value in apart]

    async def _sink_scope(self, execution: Execution, issued: Issued, point: SinkPoint) -> dict[str, Json]:
        given = await self._loader.given(execution, issued)
        scope: dict[str, Json] = {"event": {"name": point.event, "step": issued.step}}
        scope["this"] = _fragment(given.result) if given.result is not None else None
        error = point.problem or given.error
        if error is not None:
            scope["error"] = error
        return scope

    async def transition(self, execution: Execution, issued: Issued) -> tuple[Mapping[str, Json], int | None]:
        """Return the args that the playbook has written at a call's transition, and the run of the loop whose end led there."""
        if issued.item is None:
            return issued.args, issued.loop_results
        loop = await self._loader.loop(execution, issued.run)
        return loop.args, loop.loop_results

    async def _args(self, execution: Execution, issued: Issued, scope: dict[str, Json]) -> Mapping[str, Json]:
        """Return the args of a call's transition, with `loop_results`; the step's own arg of that name goes before it, and may use it."""
        args, loop_results = await self.transition(execution, issued)
        if loop_results is None or "loop_results" in args:
            return args
        aggregate = _fragment(await self._loader.aggregate(execution, loop_results))
        step = execution.plan.steps[issued.step].step
        if "loop_results" in step.args or (step.tool is not None and "loop_results" in step.tool.args):
            scope["loop_results"] = aggregate
            return args
        return {**args, "loop_results": aggregate}

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


def sink_uses(sink: Sink) -> Uses:
    """Return the names that a sink uses, but for those of what it writes."""
    used = set(names([dict(sink.tool.config), dict(sink.tool.args), sink.data]))
    if sink.tool.kind == "python":
        used |= {(name, None) for name in _python_names(sink.tool.config)}
    return frozenset((root, attribute) for root, attribute in used if root not in SINK_NAMES)


def _uses_keychain(used: Uses) -> bool:
    return any(root == "keychain" for root, _ in used)


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
        case "execution_id" | "catalog_id" | "job" | "env" | "now" | "keychain":
            return
        case "workload" | "payload" | "vars":
            whole = {"workload": execution.workload, "payload": execution.payload, "vars": execution.variables or {}}[root]
            scope[root] = whole if keys is None else {key: whole[key] for key in keys if key in whole}
        case "steps":
            wanted = execution.plan.step_names if keys is None else keys
            scope[root] = {step: _fragment(value) for step in wanted if (value := execution.results.get(step)) is not None}
        case "spec":
            scope[root] = execution.plan.playbook.spec
        case "error" if execution.state.cause is not None:
            scope[root] = execution.state.cause
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


def _fragment(value: Value) -> orjson.Fragment | Stored:
    return value if isinstance(value, Stored) else orjson.Fragment(value.raw())


def _apart(scope: dict[str, Json], run_args: Mapping[str, Json]) -> list[tuple[list[str], Stored]]:
    """Return the values that do not travel with a command, and their places in it; there is null in their stead."""
    found: list[tuple[list[str], Stored]] = []
    places: list[tuple[list[str], Any]] = [(["scope"], scope), (["run_args"], run_args)]
    if isinstance(scope.get("steps"), dict):
        places.append((["scope", "steps"], scope["steps"]))
    for path, values in places:
        for name in [name for name, value in values.items() if isinstance(value, Stored)]:
            found.append(([*path, name], values[name]))
            values[name] = None
    return found
