"""The executions of playbooks."""

from __future__ import annotations

from shlex import quote

from invoke.context import Context

from noetl.tasks.flags import EXECUTION, JSON
from noetl.tasks.verb import finish, note, read_settings, say, verb

_ID = ["execution_id"]


@verb(
    name="list",
    help={
        **JSON,
        "status": "only those that are RUNNING, PAUSED, COMPLETED, FAILED or CANCELLED",
        "path": "only those of this playbook",
        "limit": "how many at most (default 20)",
        "before": "only those before this execution id: the next page",
        "since": "only those that began since then: 10m, 2h, 1d ago, or a time like 2026-01-31T09:00:00Z (without Z it is local)",
    },
)
def list_(
    _context: Context, status: str = "", path: str = "", limit: int = 20, before: str = "", since: str = "", json: bool = False
) -> None:
    """List executions, the newest first."""
    import time

    from noetl.ops import answers, moments, tables
    from noetl.ops.client import connect

    begin = moments.iso(since, time.time()) if since else None
    query = {"status": status.upper() or None, "path": path or None, "limit": limit, "before": before or None, "since": begin}
    found = connect(read_settings()).get("/api/executions", **query)
    if json:
        say(answers.as_json(found))
        return
    say(tables.table(found["executions"], ("execution_id", "path", "version", "status", "start_time", "duration")))
    if found.get("next"):
        again = "".join(f" --{name} {quote(value)}" for name, value in (("status", status), ("path", path), ("since", since)) if value)
        say(f"more: noetl execution list{again} --before {found['next']}")


@verb(positional=_ID, help=EXECUTION)
def get(_context: Context, execution_id: str) -> None:
    """Print an execution with its events, as JSON."""
    from noetl.ops import answers
    from noetl.ops.client import connect

    say(answers.as_json(connect(read_settings()).get(f"/api/executions/{execution_id}")))


@verb(positional=_ID, help={**EXECUTION, **JSON})
def status(_context: Context, execution_id: str, json: bool = False) -> None:
    """Show an execution's steps and their states."""
    from noetl.ops import answers, live
    from noetl.ops.client import connect

    client = connect(read_settings())
    if json:
        say(answers.as_json(client.get(f"/api/executions/{execution_id}/status")))
        return
    found = client.get(f"/api/executions/{execution_id}/steps")
    reason = f": {live.told(found['error'])}" if found.get("error") else ""
    say("\n".join([f"{found['path']}  {found['status']}{reason}", *(f"  {line}" for line in live.lines({}, found))]))


@verb(
    positional=_ID,
    help={
        **EXECUTION,
        "step": "of this step (default: the one that ended last)",
        "output": "write it to this file, and say how large it is",
    },
)
def result(_context: Context, execution_id: str, step: str = "", output: str = "") -> None:
    """Print a step's latest result as JSON, of any size.

    Of a loop it is that of all its items.
    """
    import sys
    from pathlib import Path

    from noetl.ops import results, tables
    from noetl.ops.client import connect

    client = connect(read_settings())
    chosen = results.chosen_step(client, execution_id, step)
    if output:
        size = results.write_file(client, execution_id, chosen, Path(output))
        say(f"{output}: {tables.size(size)}, the result of step {chosen}")
    else:
        results.write(client, execution_id, chosen, sys.stdout.buffer)
        say("")


@verb(positional=_ID, help={**EXECUTION, **JSON, "reason": "why, for the execution's record"})
def cancel(_context: Context, execution_id: str, reason: str = "", json: bool = False) -> None:
    """Cancel an execution; what runs of it is killed."""
    from noetl.ops import answers, stopped
    from noetl.ops.client import connect

    body = {"reason": reason} if reason else {}
    answer = connect(read_settings()).post(f"/api/executions/{execution_id}/cancel", body)
    say(answers.as_json(answer) if json else stopped.text(answer))


@verb(positional=_ID, help={**EXECUTION, "reason": "why, for the execution's record"})
def pause(_context: Context, execution_id: str, reason: str = "") -> None:
    """Pause an execution: what runs finishes, nothing starts."""
    from noetl.ops.client import connect

    body = {"reason": reason} if reason else {}
    answer = connect(read_settings()).post(f"/api/executions/{execution_id}/pause", body)
    say(f"execution {execution_id}: {answer['status']}\n  go on: noetl execution resume {execution_id}")


@verb(positional=_ID, help=EXECUTION)
def resume(_context: Context, execution_id: str) -> None:
    """Let a paused execution go on where it stopped."""
    from noetl.ops.client import connect

    answer = connect(read_settings()).post(f"/api/executions/{execution_id}/resume", {})
    say(f"execution {execution_id}: {answer['status']}\n  watch it: noetl execution follow {execution_id}")


@verb(
    positional=[],
    help={
        **JSON,
        "older-than": "those that ended so long ago: 30d, 12h, or before a time like 2026-01-31T09:00:00Z (without Z it is local)",
        "status": "only those that are COMPLETED, FAILED or CANCELLED",
        "path": "only those of this playbook",
        "batch": "how many are deleted in one transaction (default 50)",
        "dry-run": "say how many there are, and delete nothing",
    },
)
def prune(
    _context: Context, older_than: str = "", status: str = "", path: str = "", batch: int = 50, dry_run: bool = False, json: bool = False
) -> None:
    """Delete old executions that are over.

    Their results, events and variables go with them. One that is not over stays, and so does what belongs to one: sub-playbooks
    whose parent goes on, a parent whose sub-playbooks do. Ctrl-C ends it between two batches.
    """
    from noetl.ops import answers, pruning
    from noetl.ops.client import connect

    client = connect(read_settings())
    chosen = pruning.chosen(older_than, status, path)
    if dry_run:
        planned = pruning.plan(client, chosen)
        say(answers.as_json(planned) if json else pruning.text(planned))
        return
    deleted = pruning.prune(client, chosen, batch, note)
    say(answers.as_json({"deleted": deleted}) if json else f"{deleted:,} {'execution' if deleted == 1 else 'executions'} deleted")


@verb(
    positional=_ID,
    help={
        **EXECUTION,
        **JSON,
        "from": "go on at this step, with the args of its last run; what follows from it is done again",
        "failed-items": "of loops that have failed, run only the items that are not done",
        "version": "of the playbook: same (default) or latest",
        "dry-run": "show what would run again and what is kept, and change nothing",
        "follow": "show the new execution live, and exit as it ends",
    },
)
def retry(
    _context: Context,
    execution_id: str,
    from_: str = "",
    failed_items: bool = False,
    version: str = "same",
    dry_run: bool = False,
    follow: bool = False,
    json: bool = False,
) -> None:
    """Continue an execution that ended, from where it failed.

    A new execution begins: what is done is kept, with its results, variables and finished items, and is not run again.
    """
    from noetl.ops import answers, continuation
    from noetl.ops.client import connect
    from noetl.tasks.printing import print_follow

    client, path = connect(read_settings()), f"/api/executions/{execution_id}/retry"
    wanted = {"from": from_ or None, "failed_items": failed_items, "version": version}
    planned = client.post(path, {**wanted, "dry_run": True})
    if dry_run:
        say(answers.as_json(planned) if json else continuation.text(planned))
        return
    if not json:
        say(continuation.text(planned))
    begun = client.post(path, wanted)
    say(answers.as_json(begun) if json else f"execution {begun['execution_id']} continues {execution_id}")
    if follow:
        print_follow(client, begun["execution_id"], json)
    elif not json:
        say(f"  watch it: noetl execution follow {begun['execution_id']}")


@verb(positional=_ID, help={**EXECUTION, **JSON})
def why(_context: Context, execution_id: str, json: bool = False) -> None:
    """Explain what an execution waits for, and what to type.

    Exit code: 0 it moves by itself, or has COMPLETED; 3 it does not move until somebody does something; 1 it has FAILED or was CANCELLED.
    """
    from noetl.ops import answers, reasons
    from noetl.ops.client import connect

    found = connect(read_settings()).get(f"/api/executions/{execution_id}/why")
    finish(answers.as_json(found) if json else reasons.text(found), reasons.exit_code(found))


@verb(positional=_ID, help={**EXECUTION, **JSON, "after": "only events after this one", "limit": "how many at most (default 1000)"})
def events(_context: Context, execution_id: str, after: str = "", limit: int = 1000, json: bool = False) -> None:
    """List an execution's events."""
    from noetl.ops import answers, tables
    from noetl.ops.client import connect

    found = connect(read_settings()).get(f"/api/executions/{execution_id}/events", after=after or None, limit=limit)
    columns = ("event_id", "created_at", "event_type", "node_name", "status", "duration")
    say(answers.as_json(found) if json else tables.table(found["events"], columns))


@verb(positional=_ID, help={**EXECUTION, **JSON})
def follow(_context: Context, execution_id: str, json: bool = False) -> None:
    """Show an execution live; Ctrl-C only stops looking."""
    from noetl.ops.client import connect
    from noetl.tasks.printing import print_follow

    print_follow(connect(read_settings()), execution_id, json)
