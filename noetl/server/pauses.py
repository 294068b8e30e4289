"""Pausing and resuming: an execution, and what it waits for. The sweep finds what was forgotten on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noetl.engine.inputs import Pause, Resume

if TYPE_CHECKING:
    from noetl.server.runtime import Runtime


class Pauses:
    """Pauses and resumes executions with their sub-playbooks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def pause(self, execution_id: int, reason: str, by: str | None = None) -> str:
        """Pause an execution, then the children that it waits for; return the status that it has afterwards."""
        became = await self._runtime.committer.signal(execution_id, Pause(self._runtime.clock(), reason, by))
        if became == "PAUSED":
            for row in await self._runtime.database.rows("children_running", execution_id):
                await self.pause(row["execution_id"], "its parent is paused", str(execution_id))
        return became

    async def resume(self, execution_id: int, by: str | None = None) -> str:
        """Let an execution go on, ring for its commands, then do the same for the children that were paused with it."""
        runtime = self._runtime
        # What a sub-playbook may take does not include the time in which nothing could happen. A server that dies after this has given too
        # much of it, never too little.
        await runtime.database.run("pause_extends", execution_id)
        became = await runtime.committer.signal(execution_id, Resume(runtime.clock(), by))
        if became == "RUNNING":
            await self._ring(execution_id)
            for row in await runtime.database.rows("children_paused", execution_id):
                await self.resume(row["execution_id"], str(execution_id))
        return became

    async def sweep(self) -> None:
        """Pause and resume the children whose parents were, where a server died in between."""
        for row in await self._runtime.database.rows("pauses_forgotten"):
            if row["status"] == "RUNNING":
                await self.pause(row["execution_id"], "its parent is paused", str(row["parent_execution_id"]))
            else:
                await self.resume(row["execution_id"], str(row["parent_execution_id"]))

    async def _ring(self, execution_id: int) -> None:
        """Ring for what waits; what has to wait longer is rung for at its time."""
        runtime = self._runtime
        delayed: dict[float, list[tuple[str, int, int]]] = {}
        for row in await runtime.database.rows("waiting_of", execution_id):
            delayed.setdefault(max(0.0, row["seconds"]), []).append((row["pool"], execution_id, row["command_id"]))
        runtime.ring(delayed.pop(0.0, []))
        for seconds, commands in delayed.items():
            asyncio.get_running_loop().call_later(seconds, runtime.ring, commands)
