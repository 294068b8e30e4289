"""The files of executions: the DuckDB database that their steps share, kept between two steps in compressed pieces."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from noetl.errors import Conflict, TooLarge
from noetl.server.chunks import CHUNK, checked
from noetl.store.postgres import Database


class Files:
    """Writes what workers send after a step, and streams the version that counts to the next one."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit

    async def current(self, execution_id: int) -> tuple[int, int, int] | None:
        """Return the command, the fence and the size of the version that counts; None where there is none yet."""
        row = await self._database.row("file_current", execution_id)
        return None if row is None else (row["command_id"], row["fence"], row["size"])

    async def write(self, execution_id: int, command_id: int, fence: int, number: int, body: bytes) -> None:
        """Keep one piece of a version under a live lease; raise Conflict where it is no longer live."""
        if number * CHUNK >= self._limit:
            raise TooLarge(f"the file is larger than {self._limit} bytes", "name a `database:`, or raise NOETL_MAX_RESULT of the server")
        size = await asyncio.to_thread(checked, body)
        if not await self._database.run("file_write", execution_id, command_id, fence, number, size, body):
            raise _not_leased(execution_id, command_id, fence)

    async def whole(self, execution_id: int, command_id: int, fence: int, size: int) -> None:
        """Note that all pieces of a version are there; it counts once its command is done."""
        if not await self._database.run("file_whole", execution_id, command_id, fence, size):
            raise Conflict(f"the file of execution {execution_id} has not come whole", "send its pieces again", code="incomplete")

    async def stream(self, execution_id: int, command_id: int, fence: int) -> AsyncIterator[bytes]:
        """Yield a version, piece by piece."""
        number = 0
        while (row := await self._database.row("file_read", execution_id, command_id, fence, number)) is not None:
            yield await asyncio.to_thread(zlib.decompress, row["body"])
            number += 1


def _not_leased(execution_id: int, command_id: int, fence: int) -> Conflict:
    return Conflict(f"command {command_id} of execution {execution_id} is not leased under fence {fence}", code="not_leased")
