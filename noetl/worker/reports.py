"""How a worker tells what became of commands: all that is finished in one request, again until it is answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from noetl.errors import NoetlError, Unavailable
from noetl.worker.ahead import Ahead
from noetl.worker.api import Api
from noetl.worker.job import Failed, Large
from noetl.worker.slots import Finished, Slots

logger = logging.getLogger("noetl.worker")
Json = Any
AGAIN = ("refused: unavailable", "refused: moved_on", "refused: not_leased")
GONE = ("refused: not_found",)
PAUSE = 0.3


class Reports:
    """Reports what is finished. The answer's commands, leased to this worker, go to `take`."""

    def __init__(
        self,
        api: Api,
        slots: Slots,
        *,
        worker_id: str,
        pool: str,
        take: Callable[[Sequence[dict[str, Json]], float], Awaitable[None]],
        ahead: Callable[[], Ahead],
    ) -> None:
        self._api = api
        self._slots = slots
        self._worker_id = worker_id
        self._pool = pool
        self._take = take
        self._ahead = ahead
        self._due = asyncio.Event()

    def due(self) -> None:
        """Something is finished."""
        self._due.set()

    async def run(self) -> None:
        """Report until cancelled; what an earlier run that failed has left is due at once."""
        if self._slots.reporting:
            self._due.set()
        while True:
            await self._due.wait()
            self._due.clear()
            while batch := list(self._slots.reporting.values()):
                if not await self._send(batch):
                    await asyncio.sleep(PAUSE)

    async def _send(self, batch: list[Finished]) -> bool:
        """Report a batch; return whether the server took it."""
        slots = self._slots
        free = slots.free
        slots.promised += free
        asked = time.monotonic()
        with self._ahead() as ahead:
            try:
                answer = await self._api.report(self._header(batch, free), [_text(finished) for finished in batch], ahead)
            except NoetlError as error:
                return await self._refused(batch, error)
            finally:
                slots.promised -= free
            return await self._answered(batch, answer["answers"], ahead.found(answer["commands"]), asked)

    async def _answered(self, batch: list[Finished], words: Sequence[str], commands: Sequence[dict[str, Json]], asked: float) -> bool:
        """Let go of what the server has taken, begin what it has given; return whether it took everything."""
        slots = self._slots
        taken = True
        for finished, word in zip(batch, words, strict=True):
            if word in AGAIN:
                taken = False
                continue
            if word not in ("recorded", "duplicate"):
                logger.warning("execution %s command %d: the report is %s", finished.key[0], finished.key[1], word)
            slots.reporting.pop(finished.key, None)
            if word.startswith("refused: ") and word not in GONE:
                self._fail(finished, {"message": "the server could not work with the result", "type": word.removeprefix("refused: ")})
        await self._take(commands, asked)
        slots.changed()
        return taken

    async def _refused(self, batch: list[Finished], error: NoetlError) -> bool:
        """A server that is away is asked again; what it refuses for good becomes the step's error; an error that it refuses is dropped."""
        if isinstance(error, Unavailable):
            logger.warning("a report was not taken: %s", error.message)
            return False
        if len(batch) > 1:
            return all([await self._send([finished]) for finished in batch])
        (finished,) = batch
        logger.warning("execution %s command %d: the report was refused: %s", finished.key[0], finished.key[1], error.message)
        self._slots.reporting.pop(finished.key, None)
        self._fail(finished, error.as_error("the result was refused: "))
        return True

    def _fail(self, finished: Finished, error: dict[str, Json]) -> None:
        """A result that is refused for good is its step's error, not one to be worked out again and again."""
        if not isinstance(finished.outcome, Failed) or finished.outcome.result_json is not None:
            self._slots.reporting[finished.key] = Finished(finished.key, Failed(error), finished.began, finished.attempt)

    def _header(self, batch: list[Finished], free: int) -> dict[str, Json]:
        return {
            "worker_id": self._worker_id,
            "pool": self._pool,
            "free": free,
            "foretell": True,
            "held": self._slots.held,
            "reports": [_entry(finished) for finished in batch],
        }


def _text(finished: Finished) -> bytes:
    return b"" if isinstance(finished.outcome, Large) else finished.outcome.result_json or b""


def _entry(finished: Finished) -> dict[str, Json]:
    execution_id, command_id, fence = finished.key
    entry: dict[str, Json] = {
        "execution_id": execution_id,
        "command_id": command_id,
        "fence": fence,
        "attempt": finished.attempt,
        "seconds": round(time.monotonic() - finished.began, 6),
        "size": len(_text(finished)),
        "status": "done",
    }
    if isinstance(finished.outcome, Large):
        entry["stored"] = finished.outcome.size
    if isinstance(finished.outcome, Failed):
        entry |= {"status": "failed", "error": finished.outcome.error}
    return entry
