"""Printing what takes its time: log files and executions."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from noetl.errors import NoetlError, UsageError
from noetl.ops import answers, follow, live, logs, moments, run
from noetl.ops.client import Client
from noetl.ops.run import Ended
from noetl.settings import Settings
from noetl.tasks import flags
from noetl.tasks.verb import colours, finish, note, say

if TYPE_CHECKING:
    from noetl.ops.services import Starting


def print_logs(home: Path, service: str, onward: bool, lines: int, since: str, *, few: int = 50) -> None:
    """Print a service's last log lines, or all services', or those since a moment; with `onward` those to come."""
    if lines < flags.ALL:
        raise UsageError(f"--lines {lines} is less than none", f"--lines {few}")
    found = logs.find(home, service)
    if not found and not onward:
        note(f"no log is in {home / 'logs'}: nothing was started here\n  start everything: noetl up")
    begin = moments.moment(since, time.time()) if since else None
    places = logs.places(found)
    named = len(found) > 1 or not service
    for path, place in places.items():
        if begin is None:
            chosen = logs.last(path, few if lines == flags.ALL else lines, place.position)
        else:
            chosen = list(logs.since(path, begin, place.position))
            chosen = chosen if lines == flags.ALL else chosen[max(0, len(chosen) - lines) :]
        for line in chosen:
            say(f"{path.stem}: {line}" if named else line)
    if onward:
        for path, line in logs.follow(lambda: logs.find(home, service), places):
            say(f"{path.stem}: {line}" if named else line)


def stay_with(starting: Starting, settings: Settings, workers: int) -> None:
    """Start what is missing and print its logs until a signal comes or a part ends; then stop what was started here."""
    from noetl.ops import heir
    from noetl.ops.process import is_alive

    def end(_number: int, _frame: object) -> None:
        raise Exit("", code=0)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals[1:]:
        signal.signal(number, end)
    places = logs.places(logs.find(settings.home))
    beside = contextlib.ExitStack()
    inherit = beside.enter_context(heir.waiting(settings.home))
    try:
        starting.up(workers)
        for entry in starting.new:
            inherit(entry)
        for found in logs.follow_or_wait(lambda: logs.find(settings.home), places):
            if found is not None:
                say(f"{found[0].stem}: {found[1]}")
            elif ended := [entry for entry in starting.new if not is_alive(entry)]:
                raise NoetlError(f"{ended[0].title} (pid {ended[0].pid}) ended", f"its log: {ended[0].log}")
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        starting.undo()
        beside.close()


def print_execution(client: Client, execution_id: str, json: bool) -> None:
    """Show an execution to its end, print its result, and end the verb with its exit code."""
    output = sys.stderr if json else sys.stdout
    print_end(run.watch(client, execution_id, output, colour=colours(output)), json)


def print_follow(client: Client, execution_id: str, json: bool) -> None:
    """Show an execution to its end as somebody who only looks: Ctrl-C leaves it running."""
    output = sys.stderr if json else sys.stdout
    live.show(follow.follow(client, execution_id), output, colour=colours(output))
    print_end(run.ended(client, execution_id), json)


def print_end(ended: Ended, json: bool, lay_out: Callable[[Any], str] | None = None) -> None:
    """Print how an execution ended, its result laid out as JSON unless told otherwise, and end the verb with its exit code."""
    document = ended.document
    if json:
        finish(answers.as_json(document), ended.exit_code)
    elif document.get("status") == "COMPLETED":
        output = document.get("output")
        found = document.get("result") if output is None else output
        if output is None and _is_stored(found):
            note(f"the result is large; all of it: noetl execution result {ended.execution_id}")
        finish((lay_out or _result)(found), ended.exit_code)
    else:
        error = document.get("error")
        reason = f": {live.told(error)}" if error else ""
        see = f"\n  see: noetl execution why {ended.execution_id}" if document.get("status") == "FAILED" else ""
        finish(f"execution {ended.execution_id} {document.get('status', 'unknown')}{reason}{see}", ended.exit_code)


def _is_stored(value: Any) -> bool:
    """Tell whether a result is told by its size and place only."""
    return isinstance(value, dict) and value.keys() == {"stored", "size", "href"}


def _result(value: Any) -> str:
    return value if isinstance(value, str) else answers.as_json(value)
