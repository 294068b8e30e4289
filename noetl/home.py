"""NOETL_HOME: the files that the processes of one machine share, and the rules for secrets among them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noetl.errors import NoetlError
from noetl.settings import Postgres, Secret, Settings

_LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::")  # noqa: S104 - nothing is bound to it here


@dataclass(frozen=True)
class Embedded:
    """The embedded services' addresses, as `noetl up` wrote them; `None` for one that it never started."""

    postgres: Postgres | None = None
    playbooks: Postgres | None = None
    nats_url: Secret | None = None


def log_file(home: Path, service: str) -> Path:
    """Return the log file of a service (`server`, `worker_NAME`, `postgres`, `nats`)."""
    return home / "logs" / f"{service}.log"


def pid_file(home: Path, service: str) -> Path:
    """Return the PID file of a service (`server`, `worker_NAME`, …)."""
    return home / f"noetl_{service}.pid"


def server_socket(home: Path, host: str | None, port: int) -> Path | None:
    """Return the socket by which a server of this home is reached without the network (docs/decisions/0024).

    `host` is where it listens, or where it is asked; None unless that is, or includes, loopback: there only one server can have the port.
    """
    return home / f"server-{port}.sock" if host in _LOCAL else None


def read_embedded(home: Path) -> Embedded:
    """Read the embedded services' addresses; empty where nothing was ever started here."""
    try:
        document = json.loads((home / "embedded.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return Embedded()
    nats = document.get("nats_url")
    return Embedded(_postgres(document.get("postgres")), _postgres(document.get("playbooks")), Secret(nats) if nats else None)


def write_embedded(home: Path, embedded: Embedded) -> None:
    """Write the embedded services' addresses, readable by this user alone."""
    document = {
        "postgres": _mapping(embedded.postgres),
        "playbooks": _mapping(embedded.playbooks),
        "nats_url": embedded.nats_url.reveal() if embedded.nats_url else None,
    }
    write_private(home / "embedded.json", json.dumps(document, indent=1))


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read, whole or not at all."""
    import secrets

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def once(path: Path, make: Any) -> str:
    """Return the private file's text; the first caller of all makes it, however many ask at the same moment."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".once.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, make() + "\n")
    return path.read_text().strip()


def token(settings: Settings) -> Secret:
    """Return the API's token: NOETL_API_TOKEN, else NOETL_HOME/token, which the first start makes."""
    return settings.api_token or Secret(once(settings.home / "token", _made_token))


def known_token(settings: Settings) -> Secret:
    """Return the API's token as far as there is one, and make none: empty where nothing was ever started."""
    if settings.api_token:
        return settings.api_token
    try:
        return Secret((settings.home / "token").read_text().strip())
    except FileNotFoundError:
        return Secret("")


class AlreadyRunning(NoetlError):
    """Another live process holds the lock; `details` is what that one wrote about itself."""

    code = "already_running"
    exit_code = 0


class Lock:
    """A lock held for the life of a process, with a note of who holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def acquire(self, note: Mapping[str, Any]) -> dict[str, Any]:
        """Take the lock, write the note and return its predecessor's; raise AlreadyRunning with the holder's note if it is taken."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = read_note(self._path)
            self._file.close()
            raise AlreadyRunning(f"already running: pid {holder.get('pid', '?')}", "see: noetl ps", details=holder) from None
        earlier = read_note(self._path)
        self._file.truncate(0)
        self._file.write(json.dumps(dict(note)))
        self._file.flush()
        return earlier


def read_note(path: Path) -> dict[str, Any]:
    """Return what a lock's holder wrote about itself; empty where there is none."""
    try:
        note = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return note if isinstance(note, dict) else {}


def _made_token() -> str:
    import secrets

    return secrets.token_urlsafe(32)


def _postgres(document: Any) -> Postgres | None:
    if not document:
        return None
    return Postgres(document["host"], document["port"], document["database"], document["user"], Secret(document["password"]))


def _mapping(postgres: Postgres | None) -> dict[str, Any] | None:
    if postgres is None:
        return None
    return {**vars(postgres), "password": postgres.password.reveal()}
