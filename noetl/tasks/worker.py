"""The workers on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit

from noetl.errors import UsageError
from noetl.tasks.flags import ALL, FORCE, FOREGROUND, JSON, LOGS, TIMEOUT
from noetl.tasks.verb import finish, note, read_settings, say, verb

if TYPE_CHECKING:
    from noetl.ops.server import Start

_START = {
    "name": "the worker's name (default worker-1, worker-2, …)",
    "pool": "the pool whose commands it takes (default: default)",
    "max-workers": "how many tools it runs at once (default: NOETL_MAX_WORKERS, else 16)",
    "count": "how many workers to start (default 1)",
}
_STOP = {**FORCE, **TIMEOUT, "name": "which worker (default: the only one)", "all": "every worker of this machine"}


@verb(help={**_START, **FOREGROUND})
def start(_context: Context, name: str = "", pool: str = "default", max_workers: int = 0, count: int = 1, foreground: bool = False) -> None:
    """Start workers; return when the server knows them."""
    from noetl.ops import foreground as fronts
    from noetl.ops import worker

    if not foreground and not fronts.is_first():
        _start(name, pool, max_workers, count)
        return
    if count != 1:
        raise UsageError(f"one worker can stay in front, not {count}", "noetl worker start --foreground --name NAME, once for each")
    ended = worker.stay(read_settings(), name=name, pool=pool, max_workers=max_workers or None, progress=note)
    if isinstance(ended, int):
        raise Exit("", code=ended)
    _say(ended)


@verb(help=_STOP)
def stop(_context: Context, name: str = "", all: bool = False, force: bool = False, timeout: float = 10.0) -> None:
    """Drain and stop workers; return when they are gone.

    Without a name: the only worker, or at a terminal the one that is chosen from a list.
    """
    from noetl.ops import worker

    if not name and not all and sys.stdin.isatty() and len(found := worker.running(read_settings().home)) > 1:
        known = [worker.name_of(entry) for entry in found]
        sys.stderr.write(f"{len(known)} workers run here: {', '.join(known)}\nwhich one is to stop, or all: ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip()
        if not answer:
            finish("no worker was stopped", 1)
        name, all = ("", True) if answer == "all" and "all" not in known else (answer, False)
    if not _stop(name, all, force, timeout):
        say("worker: none was running")


@verb(help={**_START, **{flag: _STOP[flag] for flag in ("force", "timeout")}})
def restart(
    _context: Context,
    name: str = "",
    pool: str = "default",
    max_workers: int = 0,
    count: int = 1,
    force: bool = False,
    timeout: float = 10.0,
) -> None:
    """Stop workers if they run, and start them."""
    from noetl.ops import worker

    here = {worker.name_of(entry) for entry in worker.running(read_settings().home)}
    for one in worker.names(name, count):
        if one in here:
            _stop(one, False, force, timeout)
    _start(name, pool, max_workers, count)


@verb(help={**FORCE, "timeout": "seconds to wait for each to end by itself (default 300)"})
def roll(_context: Context, force: bool = False, timeout: float = 300.0) -> None:
    """Replace workers one by one with this version.

    Each is drained, started anew, and waited for until the server knows it in this version. The first that does not come
    back ends it; run again, it goes on there. With -H: host by host (or --batch 25%), and never on after one that failed.
    """
    from noetl.ops import roll as rolling
    from noetl.ops import worker

    rolled = rolling.roll(read_settings(), timeout=timeout, force=force, progress=note)
    for one in rolled:
        say(f"worker {worker.name_of(one.record)}: back as {one.record.version}, pid {one.record.pid}")
    if not rolled:
        say("worker: none was running")


@verb(name="list", help={**JSON})
def list_(_context: Context, json: bool = False) -> None:
    """List the workers here and those the server knows."""
    from noetl.ops import answers

    answer = answers.worker_list(read_settings(), json)
    finish(answer.text, answer.exit_code)


@verb(auto_shortflags=True, help={**LOGS, "name": "which worker (default worker-1)"})
def logs(_context: Context, name: str = "worker-1", follow: bool = False, lines: int = ALL, since: str = "") -> None:
    """Show a worker's log."""
    from noetl.tasks.printing import print_logs

    print_logs(read_settings().home, f"worker_{name}", follow, lines, since)


def _start(name: str, pool: str, max_workers: int, count: int) -> None:
    from noetl.ops import worker

    for one in worker.start(read_settings(), name=name, pool=pool, max_workers=max_workers or None, count=count, progress=note):
        _say(one)


def _say(started: Start) -> None:
    from noetl.ops import tables

    entry = started.record
    if started.already:
        say(f"{entry.title}: already running, pid {entry.pid}, since {tables.since(entry.started_at)}, log {entry.log}")
    else:
        say(f"{entry.title}: ready, pid {entry.pid}, log {entry.log}")


def _stop(name: str, every: bool, force: bool, timeout: float) -> bool:
    from noetl.ops import worker

    chosen = [name] if name else []
    stopped = worker.stop(read_settings(), chosen, every=every, timeout=timeout, force=force, progress=note)
    for entry in stopped:
        say(f"worker {worker.name_of(entry)}: stopped (pid {entry.pid})")
    return bool(stopped)
