"""Tables of PostgreSQL as a playbook names them, and JSON values as text that their columns take."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from noetl.playbook.arguments import parse_json_text
from noetl.tools.base import Json, ToolError

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL as JSON has it, and not a backslash before the letters u0000."""
_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^".]+?))\s*(?:\.|\Z)')
_KIND = """
    format_type(t.oid, -1) AS type,
    t.typcategory::text AS category,
    coalesce(nullif(t.typbasetype, 0), t.oid) IN ('json'::regtype, 'jsonb'::regtype) AS is_json,
    coalesce(nullif(t.typbasetype, 0), t.oid) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AS is_integer
"""
_TABLE = "SELECT to_regclass($1)::oid::int8"
_COLUMNS = f"""
    SELECT a.attname AS name, {_KIND} FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""  # noqa: S608 - made of constants
_TYPES = f"SELECT t.oid::int8 AS oid, {_KIND} FROM pg_type t WHERE t.oid = ANY($1::int8[]::oid[])"  # noqa: S608 - made of constants


@dataclass(frozen=True, slots=True)
class Type:
    """A type as a cast names it, and what matters for writing values of it."""

    name: str
    category: str
    is_json: bool = False
    is_integer: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table, its name in its parts as the database has them, and its columns."""

    parts: tuple[str, ...]
    columns: Mapping[str, Type]

    @property
    def quoted(self) -> str:
        """The name as SQL has it."""
        return ".".join(map(quoted, self.parts))

    def column(self, name: str) -> str:
        """Return the column that is meant: the one of this name, else that of the name in lower case."""
        for candidate in (name, name.lower()):
            if candidate in self.columns:
                return candidate
        raise ToolError(f"the table {self.quoted} has no column {name!r}; it has {', '.join(self.columns)}", type="config")


def quoted(name: str) -> str:
    """Return an identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def name_parts(written: str) -> tuple[str, ...]:
    """Return the parts of a name such as `schema.table`, folded to lower case where they are not quoted."""
    parts: list[str] = []
    position = 0
    while position < len(written):
        match = _PART.match(written, position)
        if match is None:
            raise ToolError(f"{written!r} is no name of a table", type="config")
        parts.append(match[1].replace('""', '"') if match[1] else match[2].lower())
        position = match.end()
    if not 1 <= len(parts) <= 2 or "\0" in written:
        raise ToolError(f"{written!r} is no name of a table; write table or schema.table", type="config")
    return tuple(parts)


async def find_table(connection: asyncpg.Connection, written: Json) -> Table:
    """Look a table up; its name is taken as PostgreSQL takes it, or else as it is written."""
    if not isinstance(written, str) or not written.strip():
        raise ToolError("there is no table to write to: give table", type="config")
    folded = name_parts(written)
    for parts in dict.fromkeys((folded, tuple(part.strip().strip('"') for part in written.split(".")))):
        oid = await connection.fetchval(_TABLE, ".".join(map(quoted, parts)))
        if oid is not None:
            rows = await connection.fetch(_COLUMNS, oid)
            return Table(parts, {row["name"]: _type(row) for row in rows})
    raise ToolError(f"there is no table {written}", type="UndefinedTable")


async def types(connection: asyncpg.Connection, parameters: Sequence[Any]) -> list[Type]:
    """Return the types of a prepared statement's parameters."""
    found = {row["oid"]: _type(row) for row in await connection.fetch(_TYPES, [parameter.oid for parameter in parameters])}
    return [found[parameter.oid] for parameter in parameters]


def insert(table: Table, columns: Sequence[str], keys: Sequence[str] | None) -> str:
    """Return an INSERT of one row whose values are bound as text; on a conflict of `keys` the other columns are updated."""
    values = ", ".join(f"${number}::text::{table.columns[name].name}" for number, name in enumerate(columns, 1))
    text = f"INSERT INTO {table.quoted} ({', '.join(map(quoted, columns))}) VALUES ({values})"  # noqa: S608 - names are quoted
    if keys is None:
        return text
    changed = ", ".join(f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in columns if name not in keys)
    action = f"UPDATE SET {changed}" if changed else "NOTHING"
    return f"{text} ON CONFLICT ({', '.join(map(quoted, keys))}) DO {action}"


def as_text(value: Any, kind: Type) -> str | None:
    """Return a value as the text from which PostgreSQL makes one of the type; None stays None."""
    if value is None:
        return None
    if kind.is_json:
        text = value if isinstance(value, str) and parse_json_text(value) is not value else _json(value)
        return _checked(text, escaped=kind.name == "jsonb")
    if kind.category == "A":
        value = parse_json_text(value)
        if isinstance(value, (list, tuple)):
            return _checked(_array(value))
    match value:
        case bool():
            return str(int(value)) if kind.category == "N" else "true" if value else "false"
        case float() if kind.is_integer and value.is_integer():
            return str(int(value))
        case Mapping() | list() | tuple():
            return _checked(_json(value))
    return _checked(_plain(value))


def _plain(value: Any) -> str:
    match value:
        case bytes() | bytearray() | memoryview():
            return "\\x" + bytes(value).hex()
        case datetime.timedelta():
            return f"{value.total_seconds()} seconds"
        case datetime.date() | datetime.time():
            return value.isoformat()
    return str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _array(items: Sequence[Any]) -> str:
    return "{" + ",".join(map(_element, items)) + "}"


def _element(item: Any) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, (list, tuple)):
        return _array(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    text = _json(item) if isinstance(item, Mapping) else _plain(item)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _checked(text: str, *, escaped: bool = False) -> str:
    if "\0" in text or (escaped and _NUL.search(text)):
        raise ToolError("a value has a NUL character, which PostgreSQL cannot hold", type="value")
    return text


def _type(row: Any) -> Type:
    return Type(row["type"], row["category"], row["is_json"], row["is_integer"])
