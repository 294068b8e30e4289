"""The `duckdb` tool: statements on a database in memory, in a file, or in the execution's own file."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import orjson

from noetl.tools.base import Call, Json, ToolError
from noetl.tools.sql import Statement, statements

_MEMORY = ":memory:"
_THREADS = 2
_WAIT = 0.02
_CONTROL = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "END", "ABORT"})
_ALONE = _CONTROL | {"ATTACH", "DETACH", "USE", "CHECKPOINT", "FORCE", "VACUUM", "IMPORT", "EXPORT"}
_COUNTING = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CREATE"})


def run(call: Call) -> Json:
    """Run the statements; return the rows of the last one that returned rows, else how many rows were changed."""
    script = statements(str(call.config["code"]))
    if not script:
        raise ToolError("there is no SQL statement to run", type="config")
    if call.config.get("auth"):
        raise ToolError("auth of a duckdb step needs DuckDB's extensions, which this version does not load", type="config")
    path = _path(call)
    with _alone(path, call), contextlib.closing(_connect(path, call)) as connection:
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
            rows = [dict(zip(columns, row, strict=True)) for row in fetched]
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
        raise ToolError(f"{_first_lines(error)} (in: {statement.excerpt})", type=type(error).__name__) from error
    documents = [index for index, column in enumerate(description) if str(column[1]) == "JSON"]
    if documents:
        fetched = [tuple(_document(value) if index in documents else value for index, value in enumerate(row)) for row in fetched]
    return [column[0] for column in description], fetched


def _document(value: Any) -> Json:
    return orjson.loads(value) if isinstance(value, str) else value


def _path(call: Call) -> str:
    database = call.config.get("database")
    if database == _MEMORY:
        return _MEMORY
    if database:
        path = Path(str(database)).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)
    call.execution_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(call.execution_dir / "execution.duckdb")


@contextlib.contextmanager
def _alone(path: str, call: Call) -> Iterator[None]:
    """Wait until no other step of this machine has the file open: DuckDB lets one process in at a time."""
    if path == _MEMORY:
        yield
        return
    deadline = time.monotonic() + call.timeout
    with Path(f"{path}.lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ToolError(f"another step has kept {path} for {call.timeout:g} s", type="timeout") from None
                time.sleep(_WAIT)
        yield


def _connect(path: str, call: Call) -> duckdb.DuckDBPyConnection:
    call.workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "threads": _THREADS,
        "memory_limit": f"{_memory() // 1024**2}MiB",
        "temp_directory": str(call.workdir),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": True,
    }
    try:
        return duckdb.connect(path, config=config)
    except duckdb.Error as error:
        raise ToolError(f"the database {path} cannot be opened: {_first_lines(error)}", type=type(error).__name__) from error


def _memory() -> int:
    """Return half of what this process may have, so that the rows still fit beside DuckDB's own."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return 1024**3 if limit == resource.RLIM_INFINITY else max(64 * 1024**2, limit // 2)


def _first_lines(error: Exception) -> str:
    return "\n".join(str(error).splitlines()[:6])
