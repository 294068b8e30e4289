"""A DuckDB database that a config names: in memory, in a file, or the execution's own file."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from noetl.tools import duckdb_secrets
from noetl.tools.base import TOO_LONG, Call, Json, ToolError

_MEMORY = ":memory:"
_THREADS = 2
_WAIT = 0.02


@contextlib.contextmanager
def opened(config: Mapping[str, Json], call: Call) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database that a config names; no other step of this machine has it open meanwhile."""
    path = _path(config, call)
    with _alone(path, call), contextlib.closing(_connect(path, call)) as connection:
        duckdb_secrets.create(connection, config, call)
        yield connection
        if call.own_file is not None:
            # What is left in the log beside the file would not travel with it.
            connection.execute("CHECKPOINT")


def reason_of(error: Exception) -> str:
    """Return the lines of DuckDB's error that say what is wrong."""
    return "\n".join(str(error).splitlines()[:6])


def mend(error: Exception) -> str:
    """Say what to do about an error, where DuckDB itself does not say so."""
    if isinstance(error, duckdb.IOException):
        return f"files are read and written on the worker's machine: write whole paths, relative ones are below {Path.cwd()}"
    return ""


def _path(config: Mapping[str, Json], call: Call) -> str:
    database = config.get("database")
    if database == _MEMORY:
        return _MEMORY
    if database:
        path = Path(str(database)).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)
    if call.own_file is None:
        raise ToolError("`database` renders to nothing: give it a path, or leave it out for the execution's own file", type="config")
    call.own_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(call.own_file)


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
                    raise ToolError(f"another step has kept {path} for {call.timeout:g} s", TOO_LONG, type="timeout") from None
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
        raise ToolError(f"the database {path} cannot be opened: {reason_of(error)}", type=type(error).__name__) from error


def _memory() -> int:
    """Return half of what this process may have, so that the rows still fit beside DuckDB's own."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return 1024**3 if limit == resource.RLIM_INFINITY else max(64 * 1024**2, limit // 2)
