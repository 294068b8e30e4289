"""The `duckdb` tool: statements on a database in memory, in a file, or in the execution's own file."""

from __future__ import annotations

import decimal
from typing import Any

import duckdb
import orjson

from noetl.tools.base import Call, Json, ToolError
from noetl.tools.duckdb_file import mend, opened, reason_of
from noetl.tools.numbers import finite, number
from noetl.tools.sql import Statement, statements

_CONTROL = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "END", "ABORT"})
_ALONE = _CONTROL | {"ATTACH", "DETACH", "USE", "CHECKPOINT", "FORCE", "VACUUM", "IMPORT", "EXPORT"}
_COUNTING = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CREATE"})


def run(call: Call) -> Json:
    """Run the statements; return the rows of the last one that returned rows, else how many rows were changed."""
    script = statements(str(call.config["code"]))
    if not script:
        raise ToolError("there is no SQL statement to run", type="config")
    with opened(call.config, call) as connection:
        return _run_all(connection, script)


def _run_all(connection: duckdb.DuckDBPyConnection, script: list[Statement]) -> Json:
    """Run them in one transaction, so that a step that failed can be tried again; they may also handle transactions themselves."""
    rows: list[dict[str, Json]] | None = None
    changed = 0
    whole = not any(statement.verb in _ALONE for statement in script)
    if whole:
        connection.begin()
    for statement in script:
        columns, fetched = _run_one(connection, statement)
        if columns == ["Count"] and statement.verb in _COUNTING:
            changed += sum(row[0] for row in fetched if isinstance(row[0], int))
        elif columns == ["Success"] and not fetched:
            continue
        else:
            rows = [dict(zip(columns, map(_plain, row), strict=True)) for row in fetched]
    if whole:
        connection.commit()
    return {"status": "success", "row_count": changed} if rows is None else rows


def _run_one(connection: duckdb.DuckDBPyConnection, statement: Statement) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns' names and the rows."""
    try:
        result = connection.execute(statement.text)
        description = result.description or []
        fetched = result.fetchall()
    except duckdb.OutOfMemoryException as error:
        raise MemoryError from error
    except duckdb.Error as error:
        raise ToolError(f"{reason_of(error)} (in: {statement.excerpt})", mend(error), type=type(error).__name__) from error
    documents = [index for index, column in enumerate(description) if str(column[1]) == "JSON"]
    if documents:
        fetched = [tuple(_document(value) if index in documents else value for index, value in enumerate(row)) for row in fetched]
    return [column[0] for column in description], fetched


def _plain(value: Any) -> Any:
    """Return a value whose numbers are such that a result can hold them."""
    match value:
        case float():
            return finite(value)
        case decimal.Decimal():
            return number(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return value


def _document(value: Any) -> Json:
    return orjson.loads(value) if isinstance(value, str) else value
