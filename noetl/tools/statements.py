"""Statements for PostgreSQL, one at a time: which of them stand alone, binding values to them, and their failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from noetl.tools import columns
from noetl.tools.base import TOO_LONG, Json, ToolError
from noetl.tools.sql import Statement, filled

CONTROL = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "END", "ABORT", "SAVEPOINT", "RELEASE"})
_ALONE = re.compile(
    r"\s*(?:CALL|VACUUM|CHECKPOINT|(?:CREATE|DROP)\s+(?:DATABASE|TABLESPACE)|ALTER\s+SYSTEM|CLUSTER\s*\Z"
    r"|(?:CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX.*?)\s+CONCURRENTLY|REINDEX\s+(?:DATABASE|SYSTEM))\b",
    re.IGNORECASE | re.DOTALL,
)

_HINTS = {
    "22P02": "correct or convert the value; a template that leads nowhere is empty: write NULL for it, or `| default(...)`",
    "23502": "give the column a value: a name that leads nowhere is null",
    "23503": "write the row that is referred to first",
    "23505": "ON CONFLICT (...) DO NOTHING, or DO UPDATE; or let a rule handle `error.sqlstate == '23505'`",
    "3D000": "create the database, or correct its name: `db_name`, or that of the credential",
    "40001": "it may pass: `retry: {max_attempts: 3, on: [serialization, deadlock]}` beside the step's tool",
    "40P01": "it may pass: `retry: {max_attempts: 3, on: [serialization, deadlock]}` beside the step's tool",
    "42501": "GRANT it to that user, or name another credential in `auth`",
    "42601": "correct the statement there; a template puts its value in as it is: texts need quotes",
    "42703": "correct the column's name; a text stands in single quotes, double ones are for names",
    "42804": "convert the value: CAST(value AS type)",
    "42883": "correct the function's name, or convert its arguments: CAST(value AS type)",
    "42P01": "create the table in a step before, or correct its name; without `auth` or `db_host` the database is the platform's own",
    "42P07": "CREATE ... IF NOT EXISTS, or DROP ... IF EXISTS before it",
    "57014": TOO_LONG,
}
"""What mends most errors of a SQLSTATE about which PostgreSQL itself has no hint."""


def stands_alone(statement: Statement) -> bool:
    """Tell whether a statement cannot run in a transaction, or controls one."""
    return statement.verb in CONTROL or _ALONE.match(statement.text) is not None


def count(message: str) -> int:
    """Return the number of rows at the end of a command's tag."""
    last = message.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def failure(error: asyncpg.PostgresError, place: str, statement: Statement, result: Json = None) -> ToolError:
    """Return what the server said of a statement as the tool's failure."""
    kind = "timeout" if isinstance(error, asyncpg.QueryCanceledError) else type(error).__name__.removesuffix("Error")
    failed = ToolError(f"{place}: {reason_of(error)} (in{_where(error, statement)})", hint_of(error), type=kind, result=result)
    failed.details["sqlstate"] = error.sqlstate
    return failed


def reason_of(error: asyncpg.PostgresError) -> str:
    """Return what the server said has happened."""
    reason = getattr(error, "message", None) or str(error)
    return f"{reason} ({error.detail})" if getattr(error, "detail", None) else reason


def hint_of(error: asyncpg.PostgresError) -> str:
    """Return what to do: what the server said of it, else what mends most errors of that SQLSTATE."""
    return getattr(error, "hint", None) or _HINTS.get(str(error.sqlstate), "")


def _where(error: asyncpg.PostgresError, statement: Statement) -> str:
    """Return the line that the server points at, where there are several, else the statement's beginning."""
    position = getattr(error, "position", None)
    lines = statement.text.count("\n")
    # The server counts in the text that it was sent, in which values, perhaps of several lines, stand in the places of their names.
    sent = getattr(error, "query", None) or statement.text
    if position is None or lines + statement.line == 1 or sent.count("\n") != lines:
        return f": {statement.excerpt}"
    return f" {statement.shown(sent.count(chr(10), 0, int(position) - 1))}"


class Bound:
    """A statement with placeholders `:name`, and how it is executed with the values of a row."""

    def __init__(self, statement: Statement, *, positional: bool = False) -> None:
        self.statement = statement
        self.keys: list[str | int] = []
        self._positional = positional
        self._types: list[columns.Type] | None = None
        self._text = filled(statement.text, self._number, positional=positional)

    def _number(self, key: str | int) -> str:
        self.keys.append(key)
        return f"${len(self.keys)}"

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Learn the types of the placeholders; where PostgreSQL cannot tell them, values will be written into the text, quoted."""
        if not self.keys or stands_alone(self.statement):
            return
        savepoint = connection.transaction()
        await savepoint.start()
        try:
            prepared = await connection.prepare(self._text)
            self._types = await columns.types(connection, prepared.get_parameters())
        except asyncpg.PostgresError:
            self._types = None
        finally:
            await savepoint.rollback()
        if self._types is not None:
            numbers = iter(range(1, len(self.keys) + 1))
            kinds = iter(self._types)
            self._text = filled(self.statement.text, lambda _: f"(${next(numbers)}::text::{next(kinds).name})", positional=self._positional)

    async def execute(self, connection: asyncpg.Connection, rows: Iterable[Json]) -> int:
        """Execute it for each row of values, and return how many rows it changed or returned as far as that is known."""
        if self._types is None:
            changed = 0
            for row in rows:
                text = filled(self.statement.text, lambda key, row=row: literal(_value(row, key)), positional=self._positional)  # type: ignore[misc]
                changed += count(await connection.execute(text))
            return changed
        kinds = self._types
        values = [[columns.as_text(_value(row, key), kind) for key, kind in zip(self.keys, kinds, strict=True)] for row in rows]
        if len(values) == 1:
            return count(await connection.execute(self._text, *values[0]))
        await connection.executemany(self._text, values)
        return len(values)


def literal(value: Json) -> str:
    """Return a value as SQL has it, whatever the settings of the connection are."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | float():
            return f"({value!r})" if value < 0 else repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if "\0" in text:
        raise ToolError("a value has a NUL character, which PostgreSQL cannot hold", type="value")
    doubled = text.replace("'", "''")
    return f"'{doubled}'" if "\\" not in text else " E'" + doubled.replace("\\", "\\\\") + "'"


def _value(row: Json, key: str | int) -> Any:
    if isinstance(key, int):
        values = list(row.values()) if isinstance(row, Mapping) else row if isinstance(row, list) else [row]
        if key >= len(values):
            raise ToolError(f"the statement has a placeholder for value {key + 1}, and a row has {len(values)}", type="config")
        return values[key]
    if isinstance(row, Mapping) and key in row:
        return row[key]
    known = f"has {', '.join(map(str, row))}" if isinstance(row, Mapping) else f"is a {type(row).__name__}"
    raise ToolError(f"the statement has the placeholder :{key}, and the data {known}", type="config")
