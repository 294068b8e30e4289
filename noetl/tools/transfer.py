"""The `transfer` tool: rows from a source into a table of PostgreSQL, in chunks and in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from noetl.tools import columns
from noetl.tools.base import TOO_LONG, Call, Json, ToolError
from noetl.tools.database import connection_to, target_of
from noetl.tools.sql import Statement, statements
from noetl.tools.statements import Bound, failure, hint_of, reason_of
from noetl.tools.transfer_sources import Source, kind_of, source_of

_CHUNK = 5000
_MODES = {"insert": "insert", "append": "insert", "upsert": "upsert", "merge": "upsert", "replace": "replace", "truncate": "replace"}
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


async def run(call: Call) -> Json:
    """Move the rows; return how many were fetched and written."""
    written = _mapping(call.config, "target")
    if kind_of(written) != "postgres":
        raise ToolError(f"the target of a transfer is {kind_of(written)!r}; this worker writes to postgres", type="config")
    mapping = written.get("mapping")
    if mapping is not None and not (isinstance(mapping, Mapping) and mapping):
        raise ToolError("mapping is a mapping of the target's columns to names in the source: {user_id: userId}", type="config")
    source = source_of(_mapping(call.config, "source"), call, _chunk_size(call.config), mapping)
    try:
        async with (
            asyncio.timeout(call.timeout),
            connection_to(target_of(written, call), call) as connection,
            connection.transaction(),
        ):
            return await _transfer(source, connection, written)
    except asyncpg.PostgresError as error:
        failed = ToolError(reason_of(error), hint_of(error), type=type(error).__name__.removesuffix("Error"))
        failed.details["sqlstate"] = error.sqlstate
        raise failed from error
    except (asyncpg.InterfaceError, OSError, ValueError) as error:
        if isinstance(error, TimeoutError):
            raise ToolError(f"step {call.step} ran longer than {call.timeout:g} s", TOO_LONG, type="timeout") from error
        raise ToolError(str(error), type=type(error).__name__) from error


async def _transfer(source: Source, connection: asyncpg.Connection, written: Mapping[str, Json]) -> Json:
    writer = _Statement(connection, written) if written.get("query") else _Table(connection, written)
    fetched = chunks = 0
    async with contextlib.aclosing(source.chunks()) as found:
        async for names, rows in found:
            if not chunks:
                await writer.begin(names)
            await writer.write(names, rows)
            fetched += len(rows)
            chunks += 1
    if not chunks:
        await writer.begin(())
    return {
        "status": "success",
        "rows_transferred": fetched,
        "records_fetched": fetched,
        "chunks_processed": chunks,
        "source_type": source.kind,
        "target_type": "postgres",
        "mode": writer.mode,
    }


class _Statement:
    """Writes by a statement of the playbook's own, executed for each row."""

    mode = "query"

    def __init__(self, connection: asyncpg.Connection, written: Mapping[str, Json]) -> None:
        script = statements(str(written["query"]))
        if len(script) != 1:
            raise ToolError(f"the query of the target has {len(script)} statements; it is to have one", type="config")
        self._connection = connection
        self._bound = Bound(script[0], positional=True)

    async def begin(self, _names: Sequence[str]) -> None:
        """Learn the types of its placeholders."""
        await self._bound.prepare(self._connection)

    async def write(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Execute it for each row."""
        try:
            await self._bound.execute(self._connection, (dict(zip(names, row, strict=True)) for row in rows))
        except asyncpg.PostgresError as error:
            raise failure(error, "the target's query", self._bound.statement) from error


class _Table:
    """Writes into a table: by COPY, or row by row where rows may be there already."""

    def __init__(self, connection: asyncpg.Connection, written: Mapping[str, Json]) -> None:
        mode = str(written.get("mode") or "insert").lower()
        if mode not in _MODES:
            raise ToolError(f"mode is {mode!r}; it is insert, append, upsert or replace", type="config")
        self.mode = _MODES[mode]
        self._connection = connection
        self._written = written
        self._table: columns.Table | None = None
        self._columns: list[str] = []
        self._insert = ""

    async def begin(self, names: Sequence[str]) -> None:
        """Find the table and its columns; empty it if its rows are to be replaced."""
        table = self._table = await columns.find_table(self._connection, self._written.get("table"))
        self._columns = [table.column(name) for name in names]
        if self.mode == "replace":
            await self._connection.execute(f"TRUNCATE {table.quoted}")
        elif self.mode == "upsert" and self._columns:
            self._insert = columns.insert(table, self._columns, self._keys(table))

    async def write(self, _names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write one chunk."""
        assert self._table is not None
        kinds = [self._table.columns[name] for name in self._columns]
        texts = ([columns.as_text(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in rows)
        try:
            if self._insert:
                await self._connection.executemany(self._insert, list(texts))
            else:
                await self._copy(texts)
        except asyncpg.PostgresError as error:
            raise failure(error, f"table {self._table.quoted}", Statement(self._insert or f"COPY {self._table.quoted}")) from error

    def _keys(self, table: columns.Table) -> list[str]:
        """Return the columns that tell rows apart: as written, else the first one."""
        written = self._written.get("key") or self._written.get("keys") or self._columns[:1]
        return [table.column(str(name).strip()) for name in (written.split(",") if isinstance(written, str) else written)]

    async def _copy(self, texts: Any) -> None:
        assert self._table is not None
        *schema, name = self._table.parts
        lines = "".join("\t".join("\\N" if text is None else text.translate(_ESCAPES) for text in row) + "\n" for row in texts)
        await self._connection.copy_to_table(
            name, source=io.BytesIO(lines.encode()), columns=self._columns, schema_name=schema[0] if schema else None, format="text"
        )


def _mapping(config: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = config.get(name)
    if not isinstance(value, Mapping):
        raise ToolError(f"a transfer needs {name}, a mapping with a type", type="config")
    return value


def _chunk_size(config: Mapping[str, Json]) -> int:
    written = config.get("chunk_size")
    if written in (None, ""):
        return _CHUNK
    try:
        size = int(written)
    except (TypeError, ValueError):
        size = 0
    if size < 1:
        raise ToolError(f"chunk_size is {written!r}; it is a number of rows", type="config")
    return size
