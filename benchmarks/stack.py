"""A stack of its own for the measurements: PostgreSQL with fsync, nats-server, server and worker, in a folder that is thrown away."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from noetl import home as files
from noetl import settings
from noetl.ops import services


@contextlib.contextmanager
def running() -> Iterator[settings.Settings]:
    """Start everything and yield its settings; stop it and remove its files afterwards."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_"))}
    with folder() as home:
        chosen = replace(settings.read({**environ, "NOETL_HOME": str(home)}), host="127.0.0.1", port=free_port())
        try:
            services.Starting(chosen).up()
            yield chosen
        finally:
            services.down(chosen, force=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder that a PostgreSQL of another user can reach, and remove it afterwards."""
    made = Path(tempfile.mkdtemp(prefix="noetl-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def token(chosen: settings.Settings) -> str:
    """Return the API's token."""
    return files.token(chosen).reveal()
