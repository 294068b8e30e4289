"""The server on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit

from noetl.settings import Settings
from noetl.tasks.flags import ALL, FORCE, FOREGROUND, JSON, LOGS, TIMEOUT
from noetl.tasks.verb import finish, note, read_settings, say, verb

if TYPE_CHECKING:
    from noetl.ops.server import Start

_WHERE = {"host": "address to listen on (default: NOETL_HOST, else 0.0.0.0)", "port": "port to listen on (default: NOETL_PORT, else 8082)"}
_INIT_DB = {"init-db": "make or update the database's schema first"}


@verb(help={**_INIT_DB, **_WHERE, **FOREGROUND})
def start(_context: Context, init_db: bool = False, host: str = "", port: int = 0, foreground: bool = False) -> None:
    """Start the server; return when it is ready.

    What it needs of the embedded stack (postgres, nats) is started first. If it already runs, say
    since when and where.
    """
    from noetl.ops import foreground as fronts
    from noetl.ops import server

    settings = _placed(host, port)
    if not foreground and not fronts.is_first():
        _say(server.start(settings, init_db=init_db, progress=note))
        return
    ended = server.stay(settings, init_db=init_db, progress=note)
    if isinstance(ended, int):
        raise Exit("", code=ended)
    _say(ended)


@verb(help={**FORCE, **TIMEOUT, "port": "only the server on this port (default: all of NOETL_HOME)"})
def stop(_context: Context, force: bool = False, timeout: float = 10.0, port: int = 0) -> None:
    """Stop the server; return when its processes are gone."""
    from noetl.ops import server

    stopped = server.stop(read_settings(), port=port or None, timeout=timeout, force=force, progress=note)
    for entry in stopped:
        say(f"{entry.service}: stopped (pid {entry.pid})")
    if not stopped:
        say("server: was not running")


@verb(help={**_INIT_DB, **_WHERE, **FORCE, **TIMEOUT})
def restart(_context: Context, init_db: bool = False, host: str = "", port: int = 0, force: bool = False, timeout: float = 10.0) -> None:
    """Stop the server if it runs, and start it."""
    from noetl.ops import server

    settings = _placed(host, port)
    for entry in server.stop(settings, port=settings.port, timeout=timeout, force=force, progress=note):
        say(f"{entry.service}: stopped (pid {entry.pid})")
    _say(server.start(settings, init_db=init_db, progress=note))


@verb(name="status", help={**JSON})
def status(_context: Context, json: bool = False) -> None:
    """Say whether the server runs, since when and where.

    Exit code 1 if it is not ready.
    """
    from noetl.ops import answers

    answer = answers.server_status(read_settings(), json)
    finish(answer.text, answer.exit_code)


@verb(auto_shortflags=True, help=LOGS)
def logs(_context: Context, follow: bool = False, lines: int = ALL, since: str = "") -> None:
    """Show the server's log."""
    from noetl.tasks.printing import print_logs

    print_logs(read_settings().home, "server", follow, lines, since)


def _placed(host: str, port: int) -> Settings:
    settings = read_settings()
    return replace(settings, host=host or settings.host, port=port or settings.port)


def _say(started: Start) -> None:
    from noetl.ops import tables

    entry = started.record
    if started.already:
        say(f"{entry.service}: already running, pid {entry.pid}, {entry.url}, since {tables.since(entry.started_at)}")
    else:
        say(f"{entry.service}: ready at {entry.url}, pid {entry.pid}, log {entry.log}")
