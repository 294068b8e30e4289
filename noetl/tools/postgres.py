"""The `postgres` tool: statements in a transaction, over connections that are kept."""

from __future__ import annotations

import asyncio
import decimal
import ipaddress
from typing import Any

import asyncpg

from noetl.tools.base import TOO_LONG, Call, Json, ToolError
from noetl.tools.database import connection_to, target_of
from noetl.tools.numbers import finite, number
from noetl.tools.sql import Statement, statements
from noetl.tools.statements import count, failure, stands_alone


async def run(call: Call) -> Json:
    """Run the statements in their order: in one transaction, unless one of them cannot run in a transaction or controls it itself."""
    script = statements(str(call.config["code"]))
    if not script:
        raise ToolError("there is no SQL statement to run", type="config")
    target = target_of(call.config, call)
    try:
        async with asyncio.timeout(call.timeout), connection_to(target, call) as connection:
            if any(stands_alone(statement) for statement in script):
                return await _run_all(connection, script)
            async with connection.transaction():
                return await _run_all(connection, script)
    except TimeoutError as error:
        raise ToolError(f"step {call.step} ran longer than {call.timeout:g} s", TOO_LONG, type="timeout") from error


async def _run_all(connection: asyncpg.Connection, script: list[Statement]) -> Json:
    results: dict[str, Json] = {}
    for position, statement in enumerate(script):
        try:
            results[f"command_{position}"] = await _run_one(connection, statement)
        except asyncpg.PostgresError as error:
            raise failure(error, f"command_{position}", statement, results or None) from error
        except (asyncpg.InterfaceError, OSError, ValueError) as error:
            message = f"command_{position}: {error} (in: {statement.excerpt})"
            raise ToolError(message, type=type(error).__name__, result=results or None) from error
    return results


async def _run_one(connection: asyncpg.Connection, statement: Statement) -> dict[str, Json]:
    if "\0" in statement.text:
        raise ToolError(f"the statement has a NUL character, which PostgreSQL cannot hold: {statement.excerpt}", type="value")
    if stands_alone(statement) and statement.verb != "CALL":
        message = await connection.execute(statement.text)
        return {"status": "success", "row_count": count(message), "message": message}
    prepared = await connection.prepare(statement.text)
    rows = await prepared.fetch()
    message = prepared.get_statusmsg() or statement.verb
    columns = [attribute.name for attribute in prepared.get_attributes()]
    if not columns:
        return {"status": "success", "row_count": count(message), "message": message}
    return {
        "status": "success",
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
        "row_count": len(rows),
        "columns": columns,
    }


def _plain(value: Any) -> Any:
    """Return a column's value made of types that a result can hold."""
    if value is None or isinstance(value, (str, int, dict)):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, decimal.Decimal):
        return number(value)
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
