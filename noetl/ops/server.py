"""The server's process on this machine: start until it is ready, stop until it is gone."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import noetl
from noetl import home as files
from noetl.errors import Conflict, NoetlError, UsageError
from noetl.ops import process
from noetl.ops.client import Client, server_url
from noetl.ops.process import Progress, Record, quiet
from noetl.settings import Settings

RUNS = ("noetl.server",)
_READY_TIMEOUT = 60.0


@dataclass(frozen=True)
class Start:
    """A process that serves: what is known about it, and whether it already ran."""

    record: Record
    already: bool


def start(settings: Settings, *, init_db: bool = False, progress: Progress = quiet) -> Start:
    """Start the server on the settings' port and return once it is ready; one that already runs there is left alone, and waited for.

    Whatever the settings leave to the embedded stack is started first.
    """
    from noetl.ops import stack

    def wait(entry: Record, log_from: int = 0) -> None:
        process.wait_ready(entry, lambda: is_ready(entry, settings), timeout=_READY_TIMEOUT, log_from=log_from, progress=progress)

    with stack.lock(settings.home, "server", progress):
        before = _before(settings)
        stack.start(settings, progress)
        if before is not None:
            before = replace(before, url=before.url or server_url(replace(settings, server_url=None)))
            wait(before)
            return Start(before, already=True)
        entry, log_from = _spawn(settings, init_db, files.log_file(settings.home, _name(settings)))
        try:
            wait(entry, log_from)
        except BaseException:
            process.stop(settings.home, entry.service, RUNS, again="noetl server stop", timeout=3, force=True)
            raise
        return Start(entry, already=False)


def stay(settings: Settings, *, init_db: bool = False, progress: Progress = quiet) -> int | Start:
    """Run the server in front of the caller, who gets its signals, until it ends; return its exit code, or the one that already runs.

    It logs to the caller's standard output. What was started for it of the embedded stack is stopped after it.
    """
    from noetl.ops import foreground, heir, stack

    new: tuple[str, ...] = ()

    def begin(inherit: heir.Inherit) -> Record:
        nonlocal new
        with stack.lock(settings.home, "server", progress):
            if (before := _before(settings)) is not None:
                raise foreground.Already(before)
            new = stack.start(settings, progress).new
            for entry in stack.running(settings.home):
                if entry.service in new:
                    inherit(entry)
            entry = _spawn(settings, init_db, None)[0]
            inherit(entry)
            return entry

    try:
        with heir.waiting(settings.home) as inherit:
            return foreground.stay(lambda: begin(inherit))
    except foreground.Already as already:
        return Start(already.record, already=True)
    finally:
        running(settings.home)
        stack.stop_new(settings, new, progress)


def find(settings: Settings) -> Record | None:
    """Return this home's live server on the settings' port, also one whose PID file is lost."""
    for entry in running(settings.home):
        if entry.port in (settings.port, None):
            return entry
    note = files.read_note(settings.home / f"server-{settings.port}.lock")
    if not isinstance(note.get("pid"), int):
        return None
    url = server_url(replace(settings, server_url=None))
    return process.adopt(settings.home, _name(settings), note["pid"], RUNS, port=settings.port, url=url, version=noetl.__version__)


def meant(settings: Settings) -> Record | None:
    """Return this home's live server on the settings' port, else the only one that there is; that is whom clients ask."""
    here = find(settings)
    known = running(settings.home)
    return here or (known[0] if len(known) == 1 else None)


def another_port(settings: Settings) -> str:
    """Return what to type where something else has the port."""
    from noetl.ops import ports

    free = ports.next_free(settings.host, settings.port)
    return f"take another port: export NOETL_PORT={free}, or noetl server start --port {free}"


def running(home: Path) -> list[Record]:
    """Return this home's live servers, one a port."""
    names = sorted(path.stem.removeprefix("noetl_") for path in home.glob("noetl_server*.pid"))
    return [entry for name in names if (entry := process.find(home, name, RUNS)) is not None]


def stop(
    settings: Settings,
    *,
    port: int | None = None,
    timeout: float = process.STOP_TIMEOUT,
    force: bool = False,
    progress: Progress = quiet,
) -> list[Record]:
    """Stop this home's servers (or the one on a port), verify that they are gone, and return those that ran."""
    find(settings)
    stopped = []
    for path in sorted(settings.home.glob("noetl_server*.pid")):
        name = path.stem.removeprefix("noetl_")
        entry = process.read(settings.home, name, RUNS)
        if entry is not None and port is not None and entry.port != port:
            continue
        again = "noetl server stop" if port is None else f"noetl server stop --port {port}"
        ran = process.stop(settings.home, name, RUNS, again=again, timeout=timeout, force=force, progress=progress)
        stopped += [ran] if ran else []
    return stopped


def is_ready(entry: Record, settings: Settings) -> bool:
    """Tell whether that server's process answers that it is ready."""
    if entry.url is None:
        return False
    client = Client(entry.url, files.known_token(settings), timeout=2)
    try:
        return bool(client.get("/health")["pid"] == entry.pid) and client.answers("/ready")
    except (NoetlError, KeyError, TypeError):
        return False


def _name(settings: Settings) -> str:
    """Return the name of the PID file: `server` for the first, with its port for others beside it."""
    taken = process.find(settings.home, "server", RUNS)
    return "server" if taken is None or taken.port == settings.port else f"server_{settings.port}"


def _before(settings: Settings) -> Record | None:
    """Return the server that already runs there; raise where something else has the port."""
    from noetl.ops import ports

    if (before := find(settings)) is not None:
        return before
    if refusal := ports.refusal(settings.host, settings.port):
        raise UsageError(refusal, "take another: noetl server start --host ADDRESS --port N")
    if not ports.is_free(settings.host, settings.port):
        raise Conflict(
            f"port {settings.port} is taken by {ports.holder(settings.port)}",
            f"end that process, or {another_port(settings)}",
            code="port_taken",
        )
    return None


def _spawn(settings: Settings, init_db: bool, log: Path | None) -> tuple[Record, int]:
    """Start the process and write its PID file; return it, and where its part of the log begins."""
    from noetl.ops import environment

    files.token(settings)
    name = _name(settings)
    log_from = process.log_size(log) if log else 0
    argv = [sys.executable, "-m", "noetl.server", "--host", settings.host, "--port", str(settings.port)]
    argv += ["--init-db"] if init_db else []
    entry = process.spawn(
        settings.home,
        name,
        argv,
        runs=RUNS,
        cwd=settings.home,
        environ=environment.for_child(settings, os.environ),
        log=log,
        port=settings.port,
        url=server_url(replace(settings, server_url=None)),
        version=noetl.__version__,
    )
    return entry, log_from
