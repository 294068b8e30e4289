"""The verbs without a noun: all processes together, and running a playbook."""

from __future__ import annotations

import sys

from invoke.context import Context

from noetl.errors import UsageError
from noetl.tasks.flags import ALL, FORCE, JSON, LOGS, TIMEOUT
from noetl.tasks.verb import colours, finish, note, note_warnings, paint, read_settings, say, verb


@verb(
    help={"workers": "how many workers (default 1)", "foreground": "stay in front with the logs; Ctrl-C or SIGTERM stops what was started"}
)
def up(_context: Context, workers: int = 1, foreground: bool = False) -> None:
    """Start what is missing of the whole stack."""
    from noetl.ops import foreground as fronts
    from noetl.ops import services, tables

    settings = read_settings()
    starting = services.Starting(settings, note)
    if foreground or fronts.is_first():
        from noetl.tasks.printing import stay_with

        stay_with(starting, settings, workers)
        return
    starting.up(workers)
    for entry in starting.new:
        say(f"{entry.title}: started, pid {entry.pid}")
    for entry in services.running(settings):
        if entry.pid not in {one.pid for one in starting.new}:
            say(f"{entry.title}: already running, pid {entry.pid}, since {tables.since(entry.started_at)}")


@verb(
    help={
        **FORCE,
        **TIMEOUT,
        "volumes": "delete the embedded data too: all playbooks, executions and results",
        "yes": "delete it without being asked",
    }
)
def down(_context: Context, force: bool = False, timeout: float = 10.0, volumes: bool = False, yes: bool = False) -> None:
    """Stop workers, server, nats and postgres; data stays.

    With --volumes it does not: what is deleted is named first, and asked for at a terminal.
    """
    from noetl.ops import services

    settings = read_settings()
    data = services.embedded_data(settings.home) if volumes else []
    if data:
        note(f"this deletes the embedded data: {', '.join(map(str, data))}")
    if data and not yes:
        if not sys.stdin.isatty():
            raise UsageError("nothing was stopped or deleted: nobody is there to ask", "noetl down --volumes --yes")
        sys.stderr.write("delete it? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            finish("nothing was stopped or deleted", 1)
    stopped = services.down(settings, timeout=timeout, force=force, progress=note)
    for entry in stopped:
        say(f"{entry.title}: stopped (pid {entry.pid})")
    if not stopped:
        say("nothing was running")
    if volumes:
        services.delete_data(settings.home)
        say(f"deleted: {', '.join(map(str, data))}" if data else "there was no embedded data")


@verb(help=JSON)
def ps(_context: Context, json: bool = False) -> None:
    """Show postgres, nats, server and every worker.

    PID files of processes that are gone are removed, and named.
    """
    from noetl.ops import answers, services, tables

    settings = read_settings()
    gone = services.stale(settings.home)
    rows = services.listing(settings)
    for path in gone:
        if not path.exists():
            note(f"{path} was of a process that is gone, and was removed")
    say(answers.as_json({"services": rows}) if json else tables.services(rows))


@verb(help=JSON)
def doctor(_context: Context, json: bool = False) -> None:
    """Check all that noetl needs; say what to type if bad.

    Exit code 1 if anything is bad. What is optional and absent (Docker, Kubernetes, what was never started) is a note.
    """
    from noetl.ops import answers
    from noetl.ops import doctor as examining

    found = examining.examine(read_settings())
    well = examining.well(found)
    document = {"well": well, "checks": [one.as_json() for one in found]}
    shown = examining.text(found, lambda word, code: paint(word, code, sys.stdout))
    finish(answers.as_json(document) if json else shown, 0 if well else 1)


@verb(
    auto_shortflags=True,
    help={
        **LOGS,
        "service": "only this log: postgres, nats, server, or a worker's name",
        "lines": "how many of the last lines of each (default 20; with --since all)",
    },
)
def logs(_context: Context, service: str = "", follow: bool = False, lines: int = ALL, since: str = "") -> None:
    """Show the logs."""
    from noetl.tasks.printing import print_logs

    print_logs(read_settings().home, service, follow, lines, since, few=20)


@verb(help={**JSON, "keep": "leave the stack running, and print its URLs"})
def demo(_context: Context, keep: bool = False, json: bool = False) -> None:
    """Run the main example on the embedded stack, live.

    What was started for it is stopped at the end, unless --keep; what ran before stays.
    """
    from noetl.ops import demo as demonstration
    from noetl.ops import services, tables
    from noetl.tasks.printing import print_end

    settings = read_settings()
    output = sys.stderr if json else sys.stdout
    ended = demonstration.demo(settings, output, keep=keep, colour=colours(output), progress=note)
    if keep:
        note(tables.services(services.listing(settings)))
        note("stop it: noetl down")
    print_end(ended, json, tables.result)


@verb(
    positional=["file"],
    iterable=["set_"],
    help={
        **JSON,
        "file": "the playbook's YAML file",
        "set": "key=value of the payload, any number of times; the value is JSON if it reads as JSON; a.b=1 sets inside a mapping",
        "payload": "the payload as JSON, or @FILE with JSON",
        "detach": "print the execution's id and do not wait for its end",
    },
)
def run(_context: Context, file: str, set_: list[str] | None = None, payload: str = "", json: bool = False, detach: bool = False) -> None:
    """Run a playbook, shown live, and print its result.

    The embedded stack is started where nothing runs. Ctrl-C asks the server to cancel.
    Exit code 0 completed, 1 failed, 2 bad playbook or usage, 130 Ctrl-C.
    """
    from noetl.ops import answers, services
    from noetl.ops import run as running
    from noetl.tasks.printing import print_execution

    text, playbook = running.read_playbook(file)
    note_warnings(file, playbook.warnings)
    given = running.payload(payload, set_ or [], playbook)
    note_warnings(file, running.doubts(given, playbook))
    client = services.Starting(read_settings(), note).ensure()
    entry = running.register(client, text)
    execution_id = running.execute(client, entry, given)
    if detach:
        started = {"execution_id": execution_id, "path": entry["path"], "version": entry["version"], "status": "RUNNING"}
        say(answers.as_json(started) if json else execution_id)
        return
    note(f"execution {execution_id} of {entry['path']} version {entry['version']}")
    print_execution(client, execution_id, json)
