"""The workers' processes on this machine: start until the server knows them, stop until they are gone."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import noetl
from noetl import home as files
from noetl.errors import NoetlError, NotFound, Unavailable, UsageError
from noetl.ops import process
from noetl.ops.client import START_A_SERVER, Client, connect
from noetl.ops.process import Progress, Record, quiet
from noetl.ops.server import Start
from noetl.settings import Settings

RUNS = ("noetl.worker",)
POOL = "default"
_READY_TIMEOUT = 60.0


def start(
    settings: Settings, *, name: str = "", pool: str = POOL, max_workers: int | None = None, count: int = 1, progress: Progress = quiet
) -> list[Start]:
    """Start workers and return once the server knows each; those that already run under these names are left alone, and waited for."""
    from noetl.ops import stack

    wanted = names(name, count)
    client = connect(settings)
    if not client.answers("/health"):
        raise Unavailable(f"no server answers at {client.url}", START_A_SERVER)
    slots = _slots(settings, max_workers)
    new: list[Record] = []
    with contextlib.ExitStack() as locks:
        try:
            begun = []
            for one in wanted:
                locks.enter_context(stack.lock(settings.home, _service(one), progress))
                begun.append(_begin(settings, client, one, pool, slots))
                new += [] if begun[-1][0].already else [begun[-1][0].record]
            failed = [problem for start, log_from in begun if (problem := _wait(settings, client, start, log_from, progress))]
        except BaseException:
            for entry in new:
                _end(settings, entry)
            raise
    if failed:
        raise failed[0]
    return [start for start, _ in begun]


def names(name: str, count: int) -> list[str]:
    """Return the workers' names: NAME, or NAME-1 … NAME-K; without a name worker-1 … worker-K."""
    from noetl.bus.subjects import POOL as POOL_NAME

    if count < 1:
        raise UsageError(f"{count} workers cannot be started", "--count 1")
    if name and not POOL_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a worker's name", "use letters, digits, hyphens and underscores, 64 at most")
    if name and count == 1:
        return [name]
    return [f"{name or 'worker'}-{number}" for number in range(1, count + 1)]


def running(home: Path) -> list[Record]:
    """Return this home's live workers, also those whose PID files are lost."""
    found = {path.stem.removeprefix("noetl_worker_") for path in home.glob("noetl_worker_*.pid")}
    found |= {path.stem.removeprefix("worker-") for path in home.glob("worker-*.lock")}
    return [entry for name in sorted(found) if (entry := find(home, name)) is not None]


def find(home: Path, name: str) -> Record | None:
    """Return the live worker of that name."""
    if (entry := process.find(home, _service(name), RUNS)) is not None:
        return entry
    pid = files.read_note(home / f"worker-{name}.lock").get("pid")
    if not isinstance(pid, int):
        return None
    return process.adopt(home, _service(name), pid, RUNS, port=None, url=None, version=noetl.__version__)


def stop(
    settings: Settings,
    chosen: Sequence[str] = (),
    *,
    every: bool = False,
    timeout: float = process.STOP_TIMEOUT,
    force: bool = False,
    progress: Progress = quiet,
) -> list[Record]:
    """Drain and stop workers: those named, the only one, or all of them; return those that ran."""
    home = settings.home
    found = [name_of(entry) for entry in running(home)]
    left_over = [path.stem.removeprefix("noetl_worker_") for path in home.glob("noetl_worker_*.pid")]
    if unknown := [name for name in chosen if name not in found and name not in left_over]:
        raise NotFound(f"no worker {unknown[0]!r} runs here", f"these do: {', '.join(found) or 'none'}")
    if not chosen and not every and len(found) > 1:
        raise UsageError(f"several workers run here: {', '.join(found)}", "noetl worker stop --name NAME, or --all")
    wanted = list(chosen) or sorted({*found, *left_over})
    if not wanted:
        return []
    stopped = process.together(lambda name: _stop(settings, name, timeout, force, progress), wanted)
    return [entry for entry in stopped if entry is not None]


def name_of(entry: Record) -> str:
    """Return a worker's name."""
    return entry.service.removeprefix("worker_")


def known(client: Client) -> list[dict[str, Any]]:
    """Return the workers that the server knows, wherever they run."""
    return list(client.get("/api/workers")["workers"])


def is_here(one: Mapping[str, Any]) -> bool:
    """Tell whether a worker that the server knows is on this machine: PIDs and names are those of others too."""
    return bool(one.get("host") == socket.gethostname())


def _service(name: str) -> str:
    return f"worker_{name}"


def stay(
    settings: Settings, *, name: str = "", pool: str = POOL, max_workers: int | None = None, progress: Progress = quiet
) -> int | Start:
    """Run a worker in front of the caller, who gets its signals, until it ends; return its exit code, or the one that already runs.

    It logs to the caller's standard output, and waits by itself for a server that is not there yet.
    """
    from noetl.ops import foreground, heir, stack

    (only,) = names(name, 1)
    slots = _slots(settings, max_workers)

    def begin(inherit: heir.Inherit) -> Record:
        with stack.lock(settings.home, _service(only), progress):
            if (before := find(settings.home, only)) is not None:
                raise foreground.Already(before)
            entry = _spawn(settings, connect(settings).url, only, pool, slots, None)[0]
            inherit(entry)
            return entry

    try:
        with heir.waiting(settings.home) as inherit:
            return foreground.stay(lambda: begin(inherit))
    except foreground.Already as already:
        return Start(already.record, already=True)
    finally:
        find(settings.home, only)


def _slots(settings: Settings, max_workers: int | None) -> int:
    slots = settings.max_workers if max_workers is None else max_workers
    if slots < 1:
        raise UsageError(f"a worker needs at least one slot, not {slots}", "--max-workers 16")
    return slots


def _begin(settings: Settings, client: Client, name: str, pool: str, slots: int) -> tuple[Start, int]:
    """Start a worker unless it runs; return it, and where its part of the log begins."""
    if (before := find(settings.home, name)) is not None:
        return Start(before, already=True), 0
    entry, log_from = _spawn(settings, client.url, name, pool, slots, files.log_file(settings.home, _service(name)))
    return Start(entry, already=False), log_from


def _wait(settings: Settings, client: Client, start: Start, log_from: int, progress: Progress) -> NoetlError | None:
    """Wait until the server knows a worker; return why it does not, after stopping one that was started in vain."""
    entry = start.record
    name = name_of(entry)
    try:
        process.wait_ready(entry, lambda: _is_known(client, name, entry.pid), timeout=_READY_TIMEOUT, log_from=log_from, progress=progress)
    except NoetlError as problem:
        if not start.already:
            _end(settings, entry)
        return problem
    return None


def _end(settings: Settings, entry: Record) -> None:
    process.stop(settings.home, entry.service, RUNS, again="noetl worker stop", timeout=3, force=True)


def _spawn(settings: Settings, url: str, name: str, pool: str, slots: int, log: Path | None) -> tuple[Record, int]:
    """Start the process and write its PID file; return it, and where its part of the log begins."""
    from noetl.ops import environment

    log_from = process.log_size(log) if log else 0
    argv = [sys.executable, "-m", "noetl.worker", "--server-url", url, "--name", name, "--pool", pool, "--max-workers", str(slots)]
    # A worker never touches the server's database, so it gets neither its password nor its key.
    own = replace(settings, postgres=None, playbooks=None, encryption_key=None, server_url=url)
    entry = process.spawn(
        settings.home,
        _service(name),
        argv,
        runs=RUNS,
        cwd=settings.home,
        environ=environment.for_child(own, os.environ),
        log=log,
        version=noetl.__version__,
    )
    return entry, log_from


def _stop(settings: Settings, name: str, timeout: float, force: bool, progress: Progress) -> Record | None:
    again = f"noetl worker stop --name {name}"
    entry = find(settings.home, name)

    def busy() -> str:
        try:
            known_now = known(connect(settings, timeout=1))
        except NoetlError:
            return ""
        counts = [int(one.get("running") or 0) for one in known_now if is_here(one) and entry and one.get("pid") == entry.pid]
        return f"{sum(counts)} command{'' if sum(counts) == 1 else 's'} running" if counts else ""

    return process.stop(settings.home, _service(name), RUNS, again=again, timeout=timeout, force=force, progress=progress, busy=busy)


def _is_known(client: Client, name: str, pid: int) -> bool:
    try:
        here = [one for one in known(client) if is_here(one) and one.get("name") == name and one.get("pid") == pid]
        return any(one.get("status") == "ready" for one in here)
    except NoetlError:
        return False
