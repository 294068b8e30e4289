"""Commands that the server tells of while it still records that they are this worker's: made ready meanwhile, begun once they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from noetl.engine.value import loads
from noetl.worker.job import Key
from noetl.worker.playbooks import Playbooks
from noetl.worker.sandbox import Sandbox
from noetl.worker.slots import Slots

Json = Any


class Ahead:
    """What one request was told ahead of its answer. Leaving the context drops what the answer did not confirm."""

    def __init__(self, playbooks: Playbooks, sandbox: Sandbox, slots: Slots) -> None:
        self._playbooks = playbooks
        self._sandbox = sandbox
        self._slots = slots
        self._documents: dict[Key, dict[str, Json]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._documents):
            self._forget(key)

    def told(self, raw: bytes) -> None:
        """Take in commands that may become this worker's, and have the first that can begin at once made ready."""
        for document in loads(raw):
            key = (document["execution_id"], document["command_id"], document["fence"])
            self._documents[key] = document
            job = self._playbooks.known_job(document)
            document["job"] = job
            if job is not None and not job.stored and self._slots.at_once:
                self._sandbox.prepare(job)

    def found(self, told: Sequence[dict[str, Json] | list[Json]]) -> list[dict[str, Json]]:
        """Return the documents of the answer's commands: those that were told ahead are named only, unless they have changed since."""
        found: list[dict[str, Json]] = []
        for command in told:
            if isinstance(command, dict):
                self._forget((command["execution_id"], command["command_id"], command["fence"]))
                found.append(command)
            else:
                found.append(self._documents.pop((command[0], command[1], command[2])))
        return found

    def _forget(self, key: Key) -> None:
        if self._documents.pop(key, None) is not None:
            self._sandbox.drop(key)
