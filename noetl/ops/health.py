"""Tells whether the server or the worker of this container is well: `python -m noetl.ops.health`, exit code 0 or 1."""

from __future__ import annotations

import http.client
import os
import sys
import time
from pathlib import Path

from noetl import home as files
from noetl import settings as configuration

_BEAT_WITHIN = 60.0
_TIMEOUT = 4.0


def complaint(home: Path, now: float) -> str:
    """Return what is wrong with the server or the worker of a home; empty where all is well."""
    for path in sorted(home.glob("server-*.lock")):
        note = files.read_note(path)
        return _server(str(note.get("host") or ""), int(note.get("port") or 0))
    for path in sorted(home.glob("worker-*.lock")):
        return _worker(path.with_suffix(".alive"), now)
    return f"neither a server nor a worker has begun in {home}"


def _server(host: str, port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1" if host in ("", "0.0.0.0", "::") else host, port, timeout=_TIMEOUT)  # noqa: S104
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        return f"the server does not answer on port {port}: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"the server answers {status}"


def _worker(alive: Path, now: float) -> str:
    """Judge a worker by the file that its heartbeat touches."""
    try:
        age = now - alive.stat().st_mtime
    except FileNotFoundError:
        return "the server has not greeted this worker yet"
    return "" if age < _BEAT_WITHIN else f"the worker's last heartbeat was {age:.0f} s ago"


if __name__ == "__main__":
    if wrong := complaint(configuration.read(os.environ).home, time.time()):
        sys.stderr.write(f"{wrong}\n")
    sys.exit(1 if wrong else 0)
