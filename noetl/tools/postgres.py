"""The `postgres` tool: statements in a transaction, over connections that are kept."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from noetl.tools import credential
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.sql import Statement, statements

_DEFAULT = "@playbooks"
_FIELDS = {
    "host": ("db_host", "host", "hostname"),
    "port": ("db_port", "port"),
    "user": ("db_user", "user", "username"),
    "password": ("db_password", "password"),
    "database": ("db_name", "database", "dbname", "db"),
    "dsn": ("connection", "dsn", "url", "uri", "connection_string"),
    "ssl": ("sslmode", "ssl"),
}
_ALONE = re.compile(
    r"\s*(?:CALL|VACUUM|CHECKPOINT|(?:CREATE|DROP)\s+(?:DATABASE|TABLESPACE)|ALTER\s+SYSTEM|CLUSTER\s*\Z"
    r"|(?:CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX.*?)\s+CONCURRENTLY|REINDEX\s+(?:DATABASE|SYSTEM))\b",
    re.IGNORECASE | re.DOTALL,
)
_CONTROL = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "END", "ABORT", "SAVEPOINT", "RELEASE"})
_CONNECT_WITHIN = 15.0
_KEPT = 8
_LONGEST_TIMEOUT = 2**31 - 1
_open: dict[Target, asyncpg.Connection] = {}
"""This process's open connections; a call takes one out and puts it back."""


@dataclass(frozen=True)
class Target:
    """A database to connect to."""

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    dsn: str | None = field(default=None, repr=False)
    ssl: str | None = None

    @property
    def where(self) -> str:
        """Name it without its password."""
        dsn = re.sub(r"^.*@|^\w+://|\?.*$", "", self.dsn or "")
        return dsn or f"{self.host or 'localhost'}:{self.port or 5432}/{self.database or ''}"


async def run(call: Call) -> Json:
    """Run the statements in their order: in one transaction, unless one of them cannot run in a transaction or controls it itself."""
    script = statements(str(call.config["code"]))
    if not script:
        raise ToolError("there is no SQL statement to run", type="config")
    target = _target(call)
    if target.password:
        call.secrets.add(target.password)
    try:
        async with asyncio.timeout(call.timeout), _connection(target, call) as connection:
            if any(_ALONE.match(statement.text) or statement.verb in _CONTROL for statement in script):
                return await _run_all(connection, script)
            async with connection.transaction():
                return await _run_all(connection, script)
    except TimeoutError as error:
        raise ToolError(f"step {call.step} ran longer than {call.timeout:g} s", type="timeout") from error


async def _run_all(connection: asyncpg.Connection, script: list[Statement]) -> Json:
    results: dict[str, Json] = {}
    for position, statement in enumerate(script):
        try:
            results[f"command_{position}"] = await _run_one(connection, statement)
        except asyncpg.PostgresError as error:
            raise _failure(error, position, statement, results) from error
        except (asyncpg.InterfaceError, OSError, ValueError) as error:
            message = f"command_{position}: {error} (in: {statement.excerpt})"
            raise ToolError(message, type=type(error).__name__, result=results or None) from error
    return results


async def _run_one(connection: asyncpg.Connection, statement: Statement) -> dict[str, Json]:
    if "\0" in statement.text:
        raise ToolError(f"the statement has a NUL character, which PostgreSQL cannot hold: {statement.excerpt}", type="value")
    if statement.verb in _CONTROL or _ALONE.match(statement.text):
        message = await connection.execute(statement.text)
        return {"status": "success", "row_count": _count(message), "message": message}
    prepared = await connection.prepare(statement.text)
    rows = await prepared.fetch()
    message = prepared.get_statusmsg() or statement.verb
    columns = [attribute.name for attribute in prepared.get_attributes()]
    if not columns:
        return {"status": "success", "row_count": _count(message), "message": message}
    return {
        "status": "success",
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
        "row_count": len(rows),
        "columns": columns,
    }


@contextlib.asynccontextmanager
async def _connection(target: Target, call: Call) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection; it is kept for the next call if it still is as it was."""
    connection = await _reopened(target, call) or await _opened(target, call)
    ok = False
    try:
        name = _literal(f"noetl {call.step} {call.execution_id}"[:60])
        limit = min(int(call.timeout * 1000) + 500, _LONGEST_TIMEOUT)
        await connection.execute(f"SET statement_timeout = {limit}; SET application_name = {name}")
        yield connection
        ok = True
    except ToolError:
        ok = True
        raise
    finally:
        if ok and not connection.is_closed() and not connection.is_in_transaction() and len(_open) < _KEPT and target not in _open:
            _open[target] = connection
        else:
            connection.terminate()


async def _reopened(target: Target, call: Call) -> asyncpg.Connection | None:
    """Take out a kept connection, put back into its first state; None if there is none that works."""
    connection = _open.pop(target, None)
    if connection is None or connection.is_closed():
        return None
    try:
        await connection.reset(timeout=min(5.0, call.timeout))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
        return None
    return connection


async def _opened(target: Target, call: Call) -> asyncpg.Connection:
    wanted = {name: value for name, value in vars(target).items() if value not in (None, "")}
    within = min(_CONNECT_WITHIN, call.timeout)
    try:
        connection = await asyncpg.connect(**wanted, timeout=within, statement_cache_size=0)
    except TimeoutError as error:
        raise ToolError(f"no answer from PostgreSQL at {target.where} within {within:g} s", type="connection") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        reason = str(error)
        if target.password:
            reason = reason.replace(target.password, "***")
        raise ToolError(f"no connection to PostgreSQL at {target.where}: {reason}", type="connection") from error
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_json_text, decoder=orjson.loads, schema="pg_catalog")
    return connection


def _target(call: Call) -> Target:
    """Return the database of the step: its own fields over those of its credential, else the platform's default for playbooks."""
    auth = call.config.get("auth") or call.config.get("credential")
    stored = credential.resolve(auth, call.credential) or {}
    fields = {name: _first(call.config, names) or _first(stored, names) for name, names in _FIELDS.items()}
    if not any(fields.values()):
        stored = dict(call.credential(_DEFAULT))
        fields = {name: _first(stored, names) for name, names in _FIELDS.items()}
    try:
        port = int(fields["port"]) if fields["port"] else None
    except ValueError as error:
        raise ToolError(f"the port of the database is {fields['port']!r}, which is no number", type="config") from error
    if not fields["dsn"] and not fields["host"]:
        raise ToolError("the database has no host: give auth, db_host or connection", type="config")
    texts = {name: str(value) for name, value in fields.items() if name != "port" and value not in (None, "")}
    if texts.get("dsn") and (password := re.match(r"\w+://[^/@]*?:([^@/]*)@", texts["dsn"])):
        call.secrets.add(password[1])
    return Target(port=port, **texts)


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _failure(error: asyncpg.PostgresError, position: int, statement: Statement, results: dict[str, Json]) -> ToolError:
    reason = str(error)
    if getattr(error, "detail", None) and error.detail not in reason:
        reason = f"{reason} ({error.detail})"
    kind = "timeout" if isinstance(error, asyncpg.QueryCanceledError) else type(error).__name__.removesuffix("Error")
    failure = ToolError(f"command_{position}: {reason} (in: {statement.excerpt})", type=kind, result=results or None)
    failure.details["sqlstate"] = error.sqlstate
    return failure


def _count(message: str) -> int:
    last = message.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "/").replace("'", "''").replace("\0", "") + "'"


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _plain(value: Any) -> Any:
    """Return a column's value made of types that a result can hold."""
    if value is None or isinstance(value, (str, int, float, dict)):
        return value
    if isinstance(value, (list, tuple)) and not isinstance(value, asyncpg.Record):
        return [_plain(item) for item in value]
    if isinstance(value, asyncpg.Record):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, asyncpg.Range):
        return _range(value)
    if isinstance(value, asyncpg.BitString):
        return value.as_string().replace(" ", "")
    if isinstance(value, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)):
        return str(value)
    if type(value).__module__.startswith("asyncpg"):
        return [_plain(item) for item in value] if hasattr(value, "__iter__") else str(value)
    return value


def _range(value: asyncpg.Range) -> str:
    if value.isempty:
        return "empty"
    begin, end = ("[" if value.lower_inc else "("), ("]" if value.upper_inc else ")")
    return f"{begin}{'' if value.lower is None else value.lower},{'' if value.upper is None else value.upper}{end}"
