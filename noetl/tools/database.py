"""A connection to a PostgreSQL database that a config names; connections are kept from call to call."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from noetl.engine.value import dumps, loads
from noetl.tools import credential
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.statements import hint_of

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


@contextlib.asynccontextmanager
async def connection_to(target: Target, call: Call) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection; it is kept for the next call if it still is as it was."""
    connection = await _reopened(target, call) or await _opened(target, call)
    ok = False
    try:
        name = _literal(f"noetl {call.step} {call.execution_id}"[:60])
        limit = min(int(call.timeout * 1000) + 500, _LONGEST_TIMEOUT)
        settings = {"statement_timeout": str(limit), "application_name": name, "noetl.idempotency_key": _literal(call.idempotency_key)}
        await connection.execute("; ".join(f"SET {setting} = {value}" for setting, value in settings.items()))
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
        raise ToolError(
            f"no answer from PostgreSQL at {target.where} within {within:g} s", _mend(target, error), type="connection"
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        reason = str(error)
        if target.password:
            reason = reason.replace(target.password, "***")
        raise ToolError(f"no connection to PostgreSQL at {target.where}: {reason}", _mend(target, error), type="connection") from error
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_json_text, decoder=loads, schema="pg_catalog")
    return connection


def _mend(target: Target, error: Exception) -> str:
    """Say what to do about a connection that there is not."""
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return "correct user and password: noetl credential set NAME --type postgres --file FILE, and `auth: NAME` in the step"
        case asyncpg.PostgresError() if hint := hint_of(error):
            return hint
        case asyncpg.TooManyConnectionsError() | asyncpg.CannotConnectNowError():
            return "it may pass: `retry: {max_attempts: 5, on: connection}` beside the step's tool"
        case socket.gaierror():
            return "correct the name of the host: `db_host`, or that of the credential; the worker's machine does not know it"
        case OSError():
            host, local = target.host or "HOST", target.host in ("localhost", "127.0.0.1", "::1")
            itself = f"; {host} is that machine itself" if local else ""
            return f"see on the worker's machine: pg_isready -h {host} -p {target.port or 5432}; else correct host and port{itself}"
    return ""


def _leave_out(config: Mapping[str, Json], auth: Json) -> None:
    """Refuse an `auth` that says of no database where it is: what was meant for another one is not for the platform's own."""
    hint = "name a credential of a database, or leave `auth` out for the platform's database for playbooks"
    if auth:
        named = f"the credential {auth}" if isinstance(auth, str) else "the credential of `auth`"
        raise ToolError(f"{named} has no host, connection or other field of a database", hint, type="config")
    if any(name in config for name in ("auth", "credential")):
        raise ToolError("`auth` renders to nothing", hint, type="config")


def target_of(config: Mapping[str, Json], call: Call) -> Target:
    """Return the database that a config names: its own fields over those of its credential, else the platform's default for playbooks."""
    auth = config.get("auth") or config.get("credential")
    stored = credential.resolve(auth, call.credential) or {}
    fields = {name: _first(config, names) or _first(stored, names) for name, names in _FIELDS.items()}
    if not any(fields.values()):
        _leave_out(config, auth)
        stored = dict(call.credential(_DEFAULT))
        fields = {name: _first(stored, names) for name, names in _FIELDS.items()}
    try:
        port = int(fields["port"]) if fields["port"] else None
    except ValueError as error:
        raise ToolError(f"the port of the database is {fields['port']!r}, which is no number", type="config") from error
    if not fields["dsn"] and not fields["host"]:
        raise ToolError("the database has no host: give auth, db_host or connection", type="config")
    if fields["password"]:
        call.secrets.add(str(fields["password"]))
    texts = {name: str(value) for name, value in fields.items() if name != "port" and value not in (None, "")}
    if texts.get("dsn") and (password := re.match(r"\w+://[^/@]*?:([^@/]*)@", texts["dsn"])):
        call.secrets.add(password[1])
    return Target(port=port, **texts)


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "/").replace("'", "''").replace("\0", "") + "'"


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()
