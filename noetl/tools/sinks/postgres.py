"""The `postgres` sink: rows into a table, or statements with the data in their placeholders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from noetl.playbook.inputs import in_words
from noetl.tools import columns
from noetl.tools.base import TOO_LONG, Call, Json, ToolError
from noetl.tools.database import connection_to, target_of
from noetl.tools.sql import Statement, statements
from noetl.tools.statements import Bound, failure, stands_alone

_INSERTS = frozenset({"insert", "append"})


async def run(call: Call) -> Json:
    """Write the data in one transaction; return how many rows that were."""
    text = call.config.get("code")
    script = statements(str(text)) if text else []
    if text and not script:
        raise ToolError("there is no SQL statement to run", type="config")
    target = target_of(call.config, call)
    alone = any(stands_alone(statement) for statement in script)
    try:
        async with (
            asyncio.timeout(call.timeout),
            connection_to(target, call) as connection,
            contextlib.nullcontext() if alone else connection.transaction(),
        ):
            return await (_execute(connection, script, call.data, alone) if script else _insert(connection, call))
    except TimeoutError as error:
        raise ToolError(f"the sink of step {call.step} ran longer than {call.timeout:g} s", TOO_LONG, type="timeout") from error


async def _execute(connection: asyncpg.Connection, script: Sequence[Statement], data: Json, alone: bool) -> Json:
    changed = 0
    for position, statement in enumerate(script):
        bound = Bound(statement)
        try:
            if not alone:
                await bound.prepare(connection)
            rows = data if bound.keys and isinstance(data, list) else [data]
            changed += await bound.execute(connection, rows)
        except asyncpg.PostgresError as error:
            raise failure(error, f"statement {position}", statement) from error
        except (asyncpg.InterfaceError, OSError, ValueError) as error:
            raise ToolError(f"statement {position}: {error} (in: {statement.excerpt})", type=type(error).__name__) from error
    return {"status": "success", "row_count": changed, "statements": len(script)}


async def _insert(connection: asyncpg.Connection, call: Call) -> Json:
    rows = rows_of(call.data)
    table = await columns.find_table(connection, call.config.get("table"))
    keys = [table.column(name) for name in key_names(call.config)] if is_upsert(call.config) else None
    for names in dict.fromkeys(tuple(row) for row in rows):
        found = [table.column(name) for name in names]
        if missing := [key for key in keys or () if key not in found]:
            raise ToolError(f"the data has no {', '.join(missing)}, which is the key", type="config")
        text = columns.insert(table, found, keys)
        kinds = [table.columns[name] for name in found]
        values: list[list[Any]] = [
            [columns.as_text(value, kind) for value, kind in zip(row.values(), kinds, strict=True)] for row in rows if tuple(row) == names
        ]
        try:
            await connection.executemany(text, values)
        except asyncpg.PostgresError as error:
            raise failure(error, f"table {table.quoted}", Statement(text)) from error
        except (asyncpg.InterfaceError, OSError, ValueError) as error:
            raise ToolError(f"table {table.quoted}: {error}", type=type(error).__name__) from error
    return {"status": "success", "table": ".".join(table.parts), "row_count": len(rows)}


def rows_of(data: Json) -> list[Mapping[str, Json]]:
    """Return the data as rows: a mapping is one, a list has one each."""
    rows = data if isinstance(data, list) else [data]
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not row:
            place = f"item {number} of the data to write" if isinstance(data, list) else "the data to write"
            hint = "give the sink such a mapping, or a list of those, in `args`; without them it writes the result of the call"
            raise ToolError(f"{place} is {in_words(row)}; a row is a mapping of columns to values", hint, type="config")
    return [{str(name): value for name, value in row.items()} for row in rows]


def is_upsert(config: Mapping[str, Json]) -> bool:
    """Tell whether rows that are there already are to be updated."""
    mode = str(config.get("mode") or "insert").lower()
    if mode not in _INSERTS and mode != "upsert":
        raise ToolError(f"mode is {mode!r}; it is insert or upsert", type="config")
    return mode == "upsert"


def key_names(config: Mapping[str, Json]) -> list[str]:
    """Return the columns by which rows that are there already are found."""
    written = config.get("key") or config.get("keys")
    names = written.split(",") if isinstance(written, str) else written if isinstance(written, list) else []
    found = [str(name).strip() for name in names if str(name).strip()]
    if not found:
        raise ToolError("mode upsert needs a key: the column, or the list of columns, that tells rows apart", type="config")
    return found
