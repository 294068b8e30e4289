"""Results too large for a row: their JSON text in compressed pieces, written and read one piece at a time."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

from noetl.engine.value import Stored
from noetl.errors import Conflict, NoetlError, NotFound, TooLarge, UsageError
from noetl.server.loader import Loader, aggregate_head, aggregate_tail
from noetl.store.postgres import Database

CHUNK = 1024 * 1024
"""The most bytes of JSON text in one piece."""
PAGE = 32
"""How many items' results of a loop are read at once."""


class Chunks:
    """Writes what workers send, and streams what is stored."""

    def __init__(self, database: Database, loader: Loader, limit: int) -> None:
        self._database = database
        self._loader = loader
        self._limit = limit

    async def write(self, execution_id: int, command_id: int, fence: int, number: int, body: bytes) -> None:
        """Keep one piece of a result under a live lease; raise Conflict where it is no longer live."""
        if number * CHUNK >= self._limit:
            raise TooLarge(f"the result is larger than {self._limit} bytes", "raise NOETL_MAX_RESULT of the server")
        size = await asyncio.to_thread(checked, body)
        if not await self._database.run("chunk_write", execution_id, command_id, fence, number, size, body):
            raise Conflict(f"command {command_id} of execution {execution_id} is not leased under fence {fence}", code="not_leased")

    async def copy(self, source: Stored, execution_id: int, command_id: int, fence: int) -> Stored | None:
        """Keep a command's stored result as that of another command too; None for what is no command's."""
        if source.place[0] != "command":
            return None
        await self._database.run("chunk_copy", *source.place[1:], execution_id, command_id, fence)
        return Stored(("command", execution_id, command_id, fence), source.size)

    async def text(self, value: Stored, limit: int) -> bytes:
        """Return the whole text of a value that has at most `limit` bytes."""
        if value.size > limit:
            raise TooLarge(f"a value has {value.size} bytes, and {limit} is the most here", "compute with it in a python step")
        return b"".join([piece async for piece in self.stream(value)])

    async def stream(self, value: Stored) -> AsyncIterator[bytes]:
        """Yield the JSON text of a stored value, piece by piece."""
        kind, execution_id, *rest = value.place
        pieces = self._command(execution_id, *rest) if kind == "command" else self._loop(execution_id, *rest)
        async for piece in pieces:
            yield piece

    async def _command(self, execution_id: int, command_id: int, fence: int) -> AsyncIterator[bytes]:
        number = 0
        while (row := await self._database.row("chunk_read", execution_id, command_id, fence, number)) is not None:
            yield await asyncio.to_thread(zlib.decompress, row["body"])
            number += 1
        if number == 0:
            raise NotFound(f"the stored result of command {command_id} of execution {execution_id} is not there")

    async def _loop(self, execution_id: int, run: int, total: int, done: int, failed: int) -> AsyncIterator[bytes]:
        yield aggregate_head()
        last, separator = -1, b""
        while rows := await self._database.rows("stream_aggregate", execution_id, run, last, PAGE):
            for row in rows:
                async for piece in self._item(execution_id, row, separator):
                    yield piece
                separator = b","
            last = rows[-1]["item"]
        yield aggregate_tail(total, done, failed)

    async def _item(self, execution_id: int, row: Any, separator: bytes) -> AsyncIterator[bytes]:
        if row["result"] is not None or row["status"] != "done":
            yield separator + (row["result"] or "null").encode()
            return
        yield separator
        async for piece in self._command(execution_id, row["command_id"], row["fence"]):
            yield piece


def place_of(text: str) -> tuple[str | int, ...]:
    """Read where a value is stored, as `Stored.address` writes it."""
    kind, *numbers = text.split("/")
    try:
        found = tuple(int(number) for number in numbers)
    except ValueError:
        found = ()
    if (kind, len(found)) not in (("command", 3), ("loop", 5)):
        raise UsageError(f"{text!r} is no place of a value", "it is what the command says")
    return kind, *found


def checked(body: bytes) -> int:
    """Return the length of a piece's text; raise UsageError for what is no piece."""
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(body, CHUNK)
    except zlib.error as error:
        raise UsageError(f"this is no piece of a result: {error}", "send a zlib stream") from None
    if not reader.eof or reader.unused_data or not text:
        raise NoetlError(f"a piece of a result has more than {CHUNK} bytes, or none", code="result")
    return len(text)
