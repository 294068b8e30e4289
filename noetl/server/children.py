"""Sub-playbooks: a step that waits for another execution occupies no worker. Its command is the engine's own, its child does the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from noetl.engine.inputs import Cancel
from noetl.engine.state import State
from noetl.engine.value import Stored, Value, loads
from noetl.errors import NoetlError, NotFound, TooLarge, Unavailable
from noetl.playbook.duration import seconds
from noetl.playbook.expression import Templates, is_plain, is_template
from noetl.playbook.inputs import check_payload
from noetl.playbook.mistakes import nearest
from noetl.playbook.model import Step, Tool
from noetl.server.chunks import place_of
from noetl.server.committer import unheard
from noetl.server.execution import Execution
from noetl.server.pending import Begin

if TYPE_CHECKING:
    from noetl.server.runtime import Runtime

logger = logging.getLogger("noetl.server")
Json = Any
MAX_DEPTH = 20
MAX_SCOPE = 16 * 1024**2
"""The most bytes of each large result that a sub-playbook's payload is rendered from, or of a loop that a sub-playbook ends with."""
TIMEOUT = 300.0
"""Seconds that a step waits for its sub-playbook, unless it says otherwise."""
LATE = 0.02
"""Seconds by which this server's clock may be ahead of the database's."""


class Children:
    """Begins the executions that sub-playbook steps wait for, and reports their ends. The sweep finds what was forgotten."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def begin(self, execution_id: int, command_id: int) -> None:
        """Begin the child of a command that waits."""
        self._runtime.spawn(self._claimed(execution_id, command_id))

    def ended(self, execution: Execution) -> None:
        """An execution is over: its parent hears of it, its children are cancelled."""
        if execution.parent is not None:
            self._runtime.spawn(self._tell(execution.id, *execution.parent))
        if execution.plan.has_children:
            self._runtime.spawn(self._cancel_children(execution.id))

    def stopped(self, execution: Execution) -> None:
        """Commands of an execution that goes on were revoked: the children that they waited for are cancelled."""
        if execution.plan.has_children:
            self._runtime.spawn(self._cancel_children(execution.id, "children_stopped"))

    async def sweep(self) -> None:
        """Take up what was forgotten."""
        database = self._runtime.database
        for row in await database.rows("engine_forgotten"):
            where = (row["execution_id"], row["command_id"])
            if row["status"] == "waiting":
                await self._claimed(*where)
            elif row["expired"]:
                self._given_up(*where, row["fence"], row["child"])
            elif row["child"] is None:
                await self._start(*where, row["fence"])
            else:
                await self._tell(row["child"], *where)
        for row in await database.rows("orphans"):
            self._runtime.committer.signal(row["execution_id"], Cancel(self._runtime.clock(), "its parent is over"))

    async def _claimed(self, execution_id: int, command_id: int) -> None:
        runtime = self._runtime
        execution = await runtime.committer.execution(execution_id)
        if command_id not in execution.commands:
            await runtime.loader.command(execution, command_id)
        issued = execution.commands.get(command_id) if execution.state.paused is None else None
        step = execution.plan.steps[issued.step].step if issued is not None else None
        if step is None or step.tool is None:
            return
        limit = await self._limit(execution, command_id, step)
        row = await runtime.database.row("engine_claim", execution_id, command_id, timedelta(seconds=limit))
        if row is not None:
            asyncio.get_running_loop().call_later(limit + LATE, lambda: runtime.spawn(self._expire(execution_id, command_id)))
            await self._start(execution_id, command_id, row["fence"])

    async def _limit(self, parent: Execution, command_id: int, step: Step) -> float:
        """Return how many seconds a step waits for its sub-playbook; a `timeout` that cannot be rendered fails it as it begins."""
        own = step.tool.config.get("timeout") if step.tool is not None else None
        if is_template(own):
            with contextlib.suppress(NoetlError):
                own = (await self._asked(parent, command_id))[0].get("timeout")
        return min((bound for bound in (step.timeout.attempt, seconds(own)) if bound is not None), default=TIMEOUT)

    async def _expire(self, execution_id: int, command_id: int) -> None:
        """Give up waiting for a child, unless it is over; where this server is gone by then, the sweep does it."""
        for row in await self._runtime.database.rows("engine_expired", execution_id, command_id):
            self._given_up(execution_id, command_id, row["fence"], row["child"])

    def _given_up(self, execution_id: int, command_id: int, fence: int, child: int | None) -> None:
        hint = "raise `timeout` of the step's tool (without one it is 300 s), and that of the step if it is shorter"
        error = {"message": "the sub-playbook took longer than the step waits for it", "type": "timeout", "hint": hint}
        if child is not None:
            error["child"] = str(child)
        self._runtime.committer.report(execution_id, command_id, fence, None, error)
        if child is not None:
            self._runtime.committer.signal(child, Cancel(self._runtime.clock(), "its parent waits no longer"))

    async def _start(self, execution_id: int, command_id: int, fence: int) -> None:
        try:
            child = await self._child(execution_id, command_id)
        except Unavailable:
            return
        except NoetlError as error:
            self._runtime.committer.report(execution_id, command_id, fence, None, error.as_error())
            return
        self._runtime.committer.put(Begin(child, execution_id, self._runtime.clock(), unheard()))

    async def _child(self, execution_id: int, command_id: int) -> Execution:
        """Return the execution that a command waits for, not begun yet."""
        runtime = self._runtime
        parent = await runtime.committer.execution(execution_id)
        if parent.depth >= MAX_DEPTH:
            hint = "see whether one of them runs itself; the parent of each is in: noetl execution get ID"
            raise NoetlError(f"sub-playbooks are nested more than {MAX_DEPTH} deep", hint, code="too_deep")
        config, args = await self._asked(parent, command_id)
        path, version = str(config.get("path") or ""), _version(config.get("version"))
        if not path.strip():
            raise NoetlError("`path` of the sub-playbook is nothing", "see what its template reads, or give it a default", code="config")
        if (within := config.get("timeout")) not in (None, "") and seconds(within) is None:
            hint = 'it has to be a length of time, such as 30, "30s" or "5m"'
            raise NoetlError(f"`timeout` of the sub-playbook is {str(within)[:100]!r}", hint, code="config")
        row = await runtime.database.row("catalog_entry", None, path, version)
        if row is None and version and (newest := await runtime.database.row("catalog_entry", None, path, None)):
            raise NotFound(f"the playbook {path} has no version {version}", f"its newest one is {newest['version']}")
        if row is None:
            raise NotFound(f"there is no playbook {path}", "register it: noetl catalog register FILE")
        plan = await runtime.loader.plan(row["catalog_id"])
        wanted = config.get("return_step")
        if wanted and wanted not in plan.step_names:
            raise NotFound(f"the sub-playbook {path} has no step {wanted} to return", nearest(str(wanted), plan.step_names))
        if plan.playbook.inputs is not None and "loop_results" not in {*plan.playbook.inputs, *plan.playbook.workload}:
            args = await self._without_loop_results(parent, command_id, args)
        check_payload(plan.playbook.inputs, plan.playbook.workload, args, f"the sub-playbook {path}")
        return Execution(
            id=runtime.execution_id(),
            catalog_id=row["catalog_id"],
            path=row["path"],
            version=row["version"],
            plan=plan,
            revision=0,
            state=State(),
            payload=args,
            workload={},
            parent=(execution_id, command_id),
            depth=parent.depth + 1,
            complete=True,
            variables={},
        )

    async def _asked(self, parent: Execution, command_id: int) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return what a command asks for, rendered: its tool's config, and its args."""
        runtime = self._runtime
        if command_id not in parent.commands:
            await runtime.loader.command(parent, command_id)
        content = await runtime.contents.command(parent, command_id, 1, 1)
        for path, address, size in content.get("stored", ()):
            where = content
            for name in path[:-1]:
                where = where[name]
            where[path[-1]] = orjson.Fragment(await runtime.chunks.text(Stored(place_of(address), size), MAX_SCOPE))
        step = parent.plan.steps[content["step"]].step
        assert step.tool is not None
        return await self._rendered(parent, step.tool, step.args, content)

    async def _without_loop_results(self, parent: Execution, command_id: int, args: dict[str, Json]) -> dict[str, Json]:
        """Return what is handed to a playbook whose inputs do not name `loop_results`: not those that nobody has written."""
        given, loop_results = await self._runtime.contents.transition(parent, parent.commands[command_id])
        step = parent.plan.steps[parent.commands[command_id].step].step
        assert step.tool is not None
        payload = step.tool.config.get("payload")
        written = {*given, *step.args, *step.tool.args, *(payload if isinstance(payload, dict) else {})}
        if loop_results is None or "loop_results" in written:
            return args
        return {name: value for name, value in args.items() if name != "loop_results"}

    async def _rendered(
        self, parent: Execution, tool: Tool, step_args: Mapping[str, Json], content: Mapping[str, Json]
    ) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return the tool's config and its args (the child's payload), rendered."""
        values = orjson.loads(orjson.dumps({"scope": content["scope"], "run_args": content["run_args"]}, option=orjson.OPT_NON_STR_KEYS))
        eid, run_args = str(parent.id), values["run_args"]
        own = {
            "execution_id": eid,
            "catalog_id": str(parent.catalog_id),
            "job": {"uuid": eid, "id": eid, "execution_id": eid},
            "env": self._runtime.settings.playbook_env,
            "now": partial(datetime.now, UTC),
        }
        scope = {**values["scope"], **run_args, "args": run_args, **own}
        envelopes = {*parent.plan.step_names, "response", "result", "this", "data"}
        payload = await self._render(envelopes, tool.config.get("payload"), scope)
        written = await self._render(envelopes, {**tool.args, **step_args}, scope)
        args = {**(payload if isinstance(payload, dict) else {}), **written, **run_args}
        config = {name: tool.config.get(name) for name in ("path", "version", "return_step", "timeout")}
        rendered: dict[str, Json] = await self._render(envelopes, config, {**scope, **args, "args": args, **own})
        return rendered, args

    async def _render(self, envelopes: set[str], value: Json, scope: Mapping[str, Json]) -> Json:
        if is_plain(value):
            return Templates(envelopes).render(value, scope)
        return await self._runtime.evaluator.render(envelopes, value, scope)

    async def _tell(self, child_id: int, execution_id: int, command_id: int) -> None:
        """Report a child that is over as what became of its parent's command."""
        runtime = self._runtime
        command = await runtime.database.row("load_command", execution_id, command_id)
        child = await runtime.database.row("load_execution", child_id)
        if command is None or command["status"] != "running" or child is None:
            return
        if child["status"] != "COMPLETED":
            error = loads(child["error"]) if child["error"] else {"message": f"the sub-playbook is {child['status']}", "type": "playbook"}
            self._runtime.committer.report(execution_id, command_id, command["fence"], None, {**error, "child": str(child_id)})
            return
        parent = await runtime.committer.execution(execution_id)
        tool = parent.plan.steps[command["step"]].step.tool
        state = loads(child["state"])
        wanted = tool.config.get("return_step") if tool is not None else None
        if is_template(wanted):
            wanted = (await self._asked(parent, command_id))[0].get("return_step")
        reader = await runtime.loader.execution(child_id)
        step = wanted or state.get("last_step")
        result = Value.of(None)
        if not wanted and reader.plan.playbook.output is not None:
            result = Value.of(state.get("output"))
        elif step:
            await runtime.loader.results(reader, [str(step)])
            result = reader.results.get(str(step)) or result
        if isinstance(result, Stored):
            try:
                copied = await runtime.chunks.copy(result, execution_id, command_id, command["fence"])
                result = copied or Value(await runtime.chunks.text(result, MAX_SCOPE))
            except TooLarge as error:
                told = {**error.as_error(), "type": "result"}
                self._runtime.committer.report(execution_id, command_id, command["fence"], None, told)
                return
        self._runtime.committer.report(execution_id, command_id, command["fence"], result, None)

    async def _cancel_children(self, execution_id: int, which: str = "children_running") -> None:
        for row in await self._runtime.database.rows(which, execution_id):
            self._runtime.committer.signal(row["execution_id"], Cancel(self._runtime.clock(), "its parent is over"))


def _version(written: Json) -> int | None:
    """Return the version that a step names; None for the newest."""
    text = str(written or "")
    if text in ("", "latest"):
        return None
    if text.isdecimal() and len(text) < 10:
        return int(text)
    hint = "it has to be a number, such as 1; without it the newest runs"
    raise NoetlError(f"`version` of the sub-playbook is {text[:100]!r}", hint, code="config")
