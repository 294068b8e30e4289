"""The playbooks that a worker has seen: commands name a step, the tool is in the playbook."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noetl.errors import NoetlError
from noetl.playbook.duration import seconds
from noetl.playbook.model import Playbook
from noetl.playbook.parse import parse
from noetl.settings import Settings
from noetl.worker.api import Api
from noetl.worker.job import Job

Json = Any
KEPT = 128


@dataclass(frozen=True, slots=True)
class Seen:
    """A playbook, and what all its steps share."""

    playbook: Playbook
    envelopes: tuple[str, ...]


class Playbooks:
    """Reads playbooks from the server once."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    async def job(self, command: Mapping[str, Json]) -> Job:
        """Return a command as a job for a child process."""
        seen = self._seen.get(command["catalog_id"]) or await self._read(command["catalog_id"])
        step = seen.playbook.steps.get(command["step"])
        if step is None or step.tool is None:
            raise NoetlError(f"step {command['step']} has no tool in this version of the playbook", code="internal")
        eid, number = command["execution_id"], command["command_id"]
        scope = command["scope"]
        scope["execution_id"] = eid
        scope["catalog_id"] = command["catalog_id"]
        scope["job"] = {"uuid": eid, "id": eid, "execution_id": eid}
        scope["env"] = self._settings.playbook_env
        return Job(
            key=(eid, number, command["fence"]),
            step=step.name,
            tool=step.tool,
            step_args=step.args,
            run_args=command["run_args"],
            scope=scope,
            envelopes=seen.envelopes,
            timeout=_timeout(step.tool.config, self._settings.step_timeout),
            idempotency_key=f"{eid}:{number}",
            names=None,
            partial=tuple(command["partial"]),
        )

    async def _read(self, catalog_id: str) -> Seen:
        entry = await self._api.get(f"/api/catalog/entry?catalog_id={catalog_id}")
        playbook = await asyncio.to_thread(parse, entry["content"], entry["path"])
        seen = Seen(playbook, tuple(sorted({*playbook.steps, "response", "result", "this", "data"})))
        self._seen[catalog_id] = seen
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return seen


def _timeout(config: Mapping[str, Json], default: float) -> float:
    limit = seconds(config["timeout"]) if config.get("timeout") not in (None, "") else None
    return default if limit is None else limit
