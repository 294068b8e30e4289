"""Where a transfer's rows come from: an HTTP answer, a query of PostgreSQL, a query of DuckDB."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg
import duckdb

from noetl.playbook.duration import seconds
from noetl.playbook.inputs import in_words
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.columns import quoted
from noetl.tools.database import connection_to, target_of
from noetl.tools.duckdb_file import opened, reason_of
from noetl.tools.exchange import send
from noetl.tools.request import authorized, build
from noetl.tools.sql import Statement, statements
from noetl.tools.statements import failure, literal

_T = TypeVar("_T")
Chunk = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""The names of the values, and the rows."""


class Source:
    """Rows in chunks: their values in the order of the mapping's columns, or of the columns that the source has."""

    kind = ""

    def __init__(self, config: Mapping[str, Json], call: Call, size: int, mapping: Mapping[str, Json] | None) -> None:
        self._config = config
        self._call = call
        self._size = size
        self._mapping = None if mapping is None else {str(column): str(path) for column, path in mapping.items()}

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the rows."""
        raise NotImplementedError

    def _query(self) -> str:
        script = statements(str(self._config.get("query") or ""))
        if len(script) != 1:
            raise ToolError(f"the source has {len(script)} queries; it is to have one: give query", type="config")
        return script[0].text

    def _mapping_of(self, records: Sequence[Json]) -> dict[str, str]:
        """Return the mapping, made of the names that records have if the playbook has none."""
        if self._mapping is None:
            self._mapping = {str(name): str(name) for record in records for name in _record(record)}
        return self._mapping

    def _picked(self, records: Sequence[Json]) -> Chunk:
        """Return records as a chunk."""
        mapping = self._mapping_of(records)
        return list(mapping), [[value_at(_record(record), path) for path in mapping.values()] for record in records]


class HttpSource(Source):
    """The records in an HTTP answer."""

    kind = "http"

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the records below `data_path`."""
        request = authorized(build(self._config, self._call.idempotency_key), self._config, self._call.credential, self._call.secrets)
        envelope = await send(request, seconds(self._config.get("timeout")) or self._call.timeout)
        records = self._records(envelope["data"])
        self._mapping_of(records)
        for begin in range(0, len(records), self._size):
            yield self._picked(records[begin : begin + self._size])

    def _records(self, body: Json) -> list[Json]:
        path = self._config.get("data_path")
        if path:
            found = value_at(body, str(path))
            if found is None:
                raise ToolError(f"the answer has nothing at data_path {path}", type="config")
        else:
            found = body["data"] if isinstance(body, Mapping) and isinstance(body.get("data"), list) else body
        if isinstance(found, str):
            raise ToolError(f"the answer is {'text' if found.strip() else 'empty'}; a transfer needs JSON", type="value")
        return found if isinstance(found, list) else [] if found is None else [found]


class PostgresSource(Source):
    """The rows of a query, read by a cursor as text, which is what the target's columns are made of again."""

    kind = "postgres"

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the rows."""
        target = target_of(self._config, self._call)
        async with connection_to(target, self._call) as connection, connection.transaction(readonly=True):
            names, text = await self._told(self._as_text(connection))
            cursor = await self._told(connection.cursor(text))
            while rows := await self._told(cursor.fetch(self._size)):
                yield names, rows

    async def _told(self, asked: Awaitable[_T]) -> _T:
        try:
            return await asked
        except asyncpg.PostgresError as error:
            raise failure(error, "the source's query", Statement(self._query())) from error

    async def _as_text(self, connection: asyncpg.Connection) -> tuple[list[str], str]:
        query = self._query()
        prepared = await connection.prepare(query)
        there = [attribute.name for attribute in prepared.get_attributes()]
        if twice := sorted({name for name in there if there.count(name) > 1}):
            hint = "give each a name of its own: SELECT a.id AS id, b.id AS other_id"
            raise ToolError(f"the source's query has several columns named {', '.join(twice)}", hint, type="config")
        mapping = self._mapping or {name: name for name in there}
        values = ", ".join(_column(path, there) for path in mapping.values())
        return list(mapping), f"SELECT {values} FROM (\n{query}\n) AS source"  # noqa: S608 - names are quoted


def _column(path: str, there: Sequence[str]) -> str:
    """Return the expression of a value's text: a column, or what a path leads to in one that holds JSON."""
    if path in there:
        return f"source.{quoted(path)}::text"
    column, _, below = path.partition(".")
    if column in there and below:
        keys = ", ".join(literal(key) for key in below.split("."))
        return f"(source.{quoted(column)}::text::jsonb #>> ARRAY[{keys}])"
    return "NULL::text"


class DuckdbSource(Source):
    """The rows of a query of DuckDB."""

    kind = "duckdb"

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the rows."""
        for rows in self._rows():
            yield self._picked(rows)

    def _rows(self) -> Iterator[list[Json]]:
        with opened(self._config, self._call) as connection:
            try:
                result = connection.execute(self._query())
                documents = [str(column[1]) == "JSON" for column in result.description or []]
                names = [column[0] for column in result.description or []]
                while rows := result.fetchmany(self._size):
                    yield [dict(zip(names, map(_native, row, documents), strict=True)) for row in rows]
            except duckdb.OutOfMemoryException as error:
                raise MemoryError from error
            except duckdb.Error as error:
                raise ToolError(f"the source's query: {reason_of(error)}", type=type(error).__name__) from error


def _native(value: Any, is_document: bool) -> Any:
    return json.loads(value) if is_document and isinstance(value, str) else value


def source_of(config: Mapping[str, Json], call: Call, size: int, mapping: Mapping[str, Json] | None) -> Source:
    """Return the source that a config describes."""
    kind = kind_of(config)
    if kind not in _SOURCES:
        raise ToolError(f"the source of a transfer is {kind!r}; this worker reads from {', '.join(_SOURCES)}", type="config")
    return _SOURCES[kind](config, call, size, mapping)


def kind_of(config: Mapping[str, Json]) -> str:
    """Return the kind of one side of a transfer."""
    return str(next((config[name] for name in ("tool", "kind", "type") if config.get(name)), "")).lower()


def value_at(value: Json, path: str) -> Json:
    """Return what a dotted path leads to, through mappings and lists; None where it leads nowhere."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    for part in path.removeprefix("$.").split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.lstrip("-").isdecimal() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _record(record: Json) -> Mapping[str, Json]:
    if not isinstance(record, Mapping):
        raise ToolError(f"the source has {in_words(record)} where a record is expected: set data_path", type="value")
    return record


_SOURCES: Mapping[str, type[Source]] = {"http": HttpSource, "postgres": PostgresSource, "duckdb": DuckdbSource}
