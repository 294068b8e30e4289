"""The playbooks that a worker has seen: commands name a step, the tool is in the playbook."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noetl.errors import NoetlError
from noetl.playbook.duration import seconds
from noetl.playbook.model import Playbook, Step, Tool
from noetl.playbook.parse import parse
from noetl.playbook.sinks import sinks_of
from noetl.settings import Settings
from noetl.worker.api import Api
from noetl.worker.job import Job

Json = Any
KEPT = 128
ENVELOPES = ("response", "result", "this", "data")
"""The names under envelope lookup beside those of the steps."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A playbook, and what all its steps share."""

    playbook: Playbook
    keychain: tuple[Mapping[str, Json], ...]


class Playbooks:
    """Reads playbooks from the server once."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    async def job(self, command: Mapping[str, Json]) -> Job:
        """Return a command as a job for a child process."""
        return self.known_job(command) or self._job(command, await self._read(command["catalog_id"]))

    def known_job(self, command: Mapping[str, Json]) -> Job | None:
        """Return a command as a job where its playbook was read before; None where it has to be read."""
        seen = self._seen.get(command["catalog_id"])
        return None if seen is None else self._job(command, seen)

    def _job(self, command: Mapping[str, Json], seen: Seen) -> Job:
        step = seen.playbook.steps[command["step"]]
        sink = sinks_of(step, command["sink"][0])[command["sink"][1]] if command.get("sink") else None
        tool = sink.tool if sink is not None else step.tool
        if tool is None:
            raise NoetlError(f"step {step.name} has no tool", code="internal")
        eid, number = command["execution_id"], command["command_id"]
        scope = command["scope"]
        scope["execution_id"] = eid
        scope["catalog_id"] = command["catalog_id"]
        scope["job"] = {"uuid": eid, "id": eid, "execution_id": eid}
        scope["env"] = self._settings.playbook_env
        step_args, run_args = step.args if sink is None else {}, command["run_args"]
        named = {*scope, *tool.args, *step_args, *run_args}
        return Job(
            key=(eid, number, command["fence"]),
            step=step.name,
            tool=tool,
            step_args=step_args,
            run_args=run_args,
            scope=scope,
            envelopes=(*ENVELOPES, *sorted(named & seen.playbook.steps.keys())),
            timeout=_timeout(step if sink is None else None, tool, self._settings.step_timeout),
            most=step.timeout.attempt if sink is None else None,
            idempotency_key=f"{eid}:{number}",
            names=None,
            partial=tuple(command["partial"]),
            sink={"data": sink.data, "has_data": sink.has_data} if sink is not None else None,
            keychain=seen.keychain,
            overrides=command.get("overrides") or {},
            stored=tuple((tuple(path), address) for path, address, _ in command.get("stored", ())),
        )

    async def _read(self, catalog_id: str) -> Seen:
        entry = await self._api.get(f"/api/catalog/entry?catalog_id={catalog_id}")
        playbook = await asyncio.to_thread(parse, entry["content"], entry["path"])
        keychain = tuple({"name": entry.name, "kind": entry.kind, "config": entry.config} for entry in playbook.keychain)
        seen = Seen(playbook, keychain)
        self._seen[catalog_id] = seen
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return seen


def _timeout(step: Step | None, tool: Tool, default: float) -> float:
    """Return the bound of a call: the lesser of the step's own and the tool's, else the worker's; a sink has no step."""
    own = step.timeout.attempt if step is not None else None
    limit = seconds(tool.config["timeout"]) if tool.config.get("timeout") not in (None, "") else None
    return min((bound for bound in (own, limit) if bound is not None), default=default)
