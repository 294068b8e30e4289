"""Commands that the server tells of while it still records that they are this worker's: made ready meanwhile, begun once they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from noetl.engine.value import loads
from noetl.worker.job import Key
from noetl.worker.playbooks import Playbooks
from noetl.worker.sandbox import Sandbox
from noetl.worker.slots import Slots

Json = Any
SMALL = 4096
"""Bytes of an answer that is read at once. A larger one has more in it than what was told ahead."""


class Ahead:
    """What one request was told ahead of its answer. Leaving the context drops what the answer did not confirm.

    `begin` begins what is held and may begin; it is called at once when an answer has confirmed what was made ready.
    """

    def __init__(self, playbooks: Playbooks, sandbox: Sandbox, slots: Slots, begin: Callable[[], None]) -> None:
        self._playbooks = playbooks
        self._sandbox = sandbox
        self._slots = slots
        self._begin = begin
        self._asked = time.monotonic()
        self._documents: dict[Key, dict[str, Json]] = {}
        self._begun: set[Key] = set()

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

    def answered(self, raw: bytes) -> None:
        """Begin what was made ready and is confirmed by the answer: whatever else is in that can wait."""
        slots = self._slots
        if not self._documents or len(raw) > SMALL or slots.draining or not slots.at_once:
            return
        answer = loads(raw)
        for command in answer["commands"]:
            key = (command[0], command[1], command[2]) if isinstance(command, list) else None
            if key is None or (document := self._documents.get(key)) is None or (job := document["job"]) is None:
                continue
            if self._sandbox.is_prepared(key) and not slots.holds(key):
                del self._documents[key]
                self._begun.add(key)
                slots.take(job, document["attempt"], self._asked + answer.get("waited", 0))
                self._begin()
                return

    def found(self, told: Sequence[dict[str, Json] | list[Json]]) -> list[dict[str, Json]]:
        """Return the documents of the answer's commands that have not begun.

        Those that were told ahead are named only, unless they have changed since.
        """
        found: list[dict[str, Json]] = []
        for command in told:
            if isinstance(command, dict):
                self._forget((command["execution_id"], command["command_id"], command["fence"]))
                found.append(command)
            elif (key := (command[0], command[1], command[2])) not in self._begun:
                found.append(self._documents.pop(key))
        return found

    def _forget(self, key: Key) -> None:
        if self._documents.pop(key, None) is not None:
            self._sandbox.drop(key)
