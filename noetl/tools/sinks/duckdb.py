"""The `duckdb` sink: statements with the data in their placeholders."""

from __future__ import annotations

import json
from typing import Any

import duckdb

from noetl.tools.base import Call, Json, ToolError
from noetl.tools.duckdb_file import mend, opened, reason_of
from noetl.tools.sql import Statement, filled, placeholders, statements


def run(call: Call) -> Json:
    """Execute the statements in one transaction; return how many they were."""
    script = statements(str(call.config.get("code") or ""))
    if not script:
        raise ToolError("a duckdb sink needs a statement", type="config")
    with opened(call.config, call) as connection:
        connection.begin()
        for statement in script:
            for row in call.data if isinstance(call.data, list) and placeholders(statement.text) else [call.data]:
                _execute(connection, statement, row)
        connection.commit()
    return {"status": "success", "statements": len(script)}


def _execute(connection: duckdb.DuckDBPyConnection, statement: Statement, row: Json) -> None:
    names = placeholders(statement.text)
    if missing := sorted(name for name in names if not isinstance(row, dict) or name not in row):
        known = f"has {', '.join(row)}" if isinstance(row, dict) else f"is a {type(row).__name__}"
        raise ToolError(f"the statement has the placeholder :{missing[0]}, and the data {known}", type="config")
    values = {name: _value(row[name]) for name in names}
    try:
        if values:
            connection.execute(filled(statement.text, lambda name: f"${name}"), values)
        else:
            connection.execute(statement.text)
    except duckdb.OutOfMemoryException as error:
        raise MemoryError from error
    except duckdb.Error as error:
        raise ToolError(f"{reason_of(error)} (in: {statement.excerpt})", mend(error), type=type(error).__name__) from error


def _value(value: Json) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
