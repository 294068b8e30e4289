"""A verb on many hosts at the same time: each line with its host before it, a table at the end, the worst exit code."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit

from noetl.errors import NoetlError, UsageError
from noetl.ops import answers, hosts, outcomes, remote
from noetl.ops.hosts import Host, HostsFile
from noetl.ops.outcomes import NOT_RUN, Outcome
from noetl.settings import Settings
from noetl.tasks.connection import Remote, describe, open_, route
from noetl.tasks.core_flags import Given
from noetl.tasks.verb import INTERRUPTED, finish, paint, read_settings, say

_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_writing = threading.Lock()


class Lines:
    """A stream that shows whole lines of one host, its name before each; without a stream it only keeps them."""

    def __init__(self, label: str, stream: Any) -> None:
        self._label, self._stream = label, stream
        self._rest = ""
        self.text = ""

    def write(self, text: str) -> None:
        """Take text in, and show the lines that are complete."""
        self.text += text
        *lines, self._rest = (self._rest + text).split("\n")
        self._show(lines)

    def flush(self) -> None:
        """Do nothing: lines are shown when they are complete."""

    def close(self) -> None:
        """Show a last line that has no end."""
        self._show([self._rest] if self._rest else [])
        self._rest = ""

    def _show(self, lines: Sequence[str]) -> None:
        if self._stream is None or not lines:
            return
        with _writing:
            self._stream.write("".join(f"{self._label} {line}\n" for line in lines))
            self._stream.flush()


class Session:
    """One host's part of a verb: where its lines go, and its connection, which can be cut from outside."""

    def __init__(self, verb: str, host: Host, label: str, colour: str, given: Given, *, silent: bool) -> None:
        self.host = host
        self.silent = silent
        self._verb = verb
        self.out = Lines(paint(label, colour, sys.stdout), None if silent else sys.stdout)
        self.err = Lines(paint(label, colour, sys.stderr), sys.stderr)
        self._given = given
        self._remote: Remote | None = None
        self._hung_up = False

    def connect(self) -> Remote:
        """Connect."""
        self._remote = open_(self.host, self._verb, accept_new=self._given.accept_new)
        if self._hung_up:
            self.hang_up()
        return self._remote

    def hang_up(self) -> None:
        """Cut the connection, from whatever thread."""
        self._hung_up = True
        if self._remote is not None:
            self._remote.close()


Work = Callable[[Session], int]


def run_verb(verb: str, flags: Sequence[str], context: Context) -> None:
    """Run a verb on the hosts that were given, and end with the table and the worst exit code."""
    given: Given = context.given
    settings = read_settings()
    remote.check_verb(verb)
    file, chosen = chosen_hosts(verb, given, settings, context)
    url = remote.server_url(verb, settings, file)
    token = _token(settings)

    def variables(host: Host) -> dict[str, str]:
        return remote.environ(verb, os.environ, token, url, host)

    if given.dry:
        for host in chosen:
            say(f"{host.name} ({route(describe(host))}): noetl {' '.join([verb, *flags])}  {remote.shown(variables(host))}".rstrip())
        return
    if verb == "worker.roll":
        given = rolling(given)
    on_hosts(verb, chosen, given, lambda session: _verb_there(session, verb, flags, variables(session.host)), json="--json" in flags)


def rolling(given: Given) -> Given:
    """Return the flags of a roll: one host after the other unless told otherwise, and never on after one that failed."""
    return Given(**{**vars(given), "batch": given.batch or "1", "fail_fast": True})


def chosen_hosts(verb: str, given: Given, settings: Settings, context: Context) -> tuple[HostsFile, list[Host]]:
    """Return the hosts file and the hosts of the flags; with `--failed` those alone on which the verb failed last time."""
    file = hosts.read(settings.home, Path.cwd(), _plain(context.config.get("hosts")))
    if given.parallel < 1:
        raise UsageError("--parallel takes a number of hosts, one at least", f"--parallel {Given.parallel}")
    if not given.failed:
        return file, hosts.choose(given.hosts, file)
    before = outcomes.failed(settings.home, verb)
    names = [host.name for host in hosts.choose(given.hosts, file)] if given.hosts else before
    if not (wanted := [name for name in names if name in before]):
        say(f"{verb} failed nowhere when it was last run")
        raise Exit("", code=0)
    return file, hosts.choose(",".join(wanted), file)


def on_hosts(
    verb: str,
    chosen: Sequence[Host],
    given: Given,
    work: Work,
    *,
    json: bool = False,
    show: Callable[[list[Outcome]], str] = outcomes.table,
) -> None:
    """Do work on hosts, print how it went on each, remember where it failed, and end with the worst exit code."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what it would log is said in our own words
    width = max(len(host.name) for host in chosen)
    colours = {host.name: _COLOURS[index % len(_COLOURS)] for index, host in enumerate(chosen)}
    found: dict[str, Outcome] = {}
    interrupted = False
    for batch in hosts.batches(chosen, given.batch):
        if interrupted or (given.fail_fast and any(one.exit_code for one in found.values())):
            break
        sessions = [Session(verb, host, f"{host.name.ljust(width)} |", colours[host.name], given, silent=json) for host in batch]
        interrupted = _together(sessions, work, given, found)
    ended = [found.get(host.name, Outcome(host.name, NOT_RUN)) for host in chosen]
    outcomes.remember(read_settings().home, verb, ended)
    code = INTERRUPTED if interrupted else outcomes.worst(ended)
    finish(answers.as_json(outcomes.as_document(ended)) if json else show(ended), code)


def _together(sessions: Sequence[Session], work: Work, given: Given, found: dict[str, Outcome]) -> bool:
    """Work on a batch of hosts at the same time; return whether Ctrl-C cut it short."""
    waiting = list(sessions)
    running: dict[Future[Outcome], Session] = {}
    interrupted = False
    with ThreadPoolExecutor(min(given.parallel, len(sessions))) as pool:
        while waiting or running:
            try:
                while waiting and len(running) < given.parallel:
                    session = waiting.pop(0)
                    running[pool.submit(_outcome, session, work)] = session
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    one = future.result()
                    found[one.host] = one if not interrupted else Outcome(one.host, INTERRUPTED, one.seconds, "interrupted", one.output)
                    running.pop(future)
                    if one.exit_code and given.fail_fast:
                        waiting = []
            except KeyboardInterrupt:
                interrupted, waiting = True, []
                # All of them, for the one that was just handed to the pool may not be among those that run.
                for session in sessions:
                    session.hang_up()
    return interrupted


def _outcome(session: Session, work: Work) -> Outcome:
    started = time.monotonic()
    error = ""
    try:
        code = work(session)
    except NoetlError as problem:
        code, error = problem.exit_code or 1, problem.message
        session.err.write(f"error: {problem}\n")
    except Exception as problem:  # whatever a library did not foresee about one host, the others finish
        code, error = 1, f"{type(problem).__name__}: {problem}"
        session.err.write(f"error: {error}\n")
    finally:
        session.hang_up()
        session.out.close()
        session.err.close()
    if code and not error:
        error = _error_line(session.err.text) or next(iter(session.out.text.splitlines()), "") or f"exit code {code}"
    return Outcome(session.host.name, code, round(time.monotonic() - started, 2), error, session.out.text)


def _verb_there(session: Session, verb: str, flags: Sequence[str], variables: dict[str, str]) -> int:
    connected = session.connect()
    code, said, _ = connected.run(remote.probe(session.host))
    there = remote.place(said)
    if warning := remote.check_place(verb, there, session.host):
        session.err.write(f"{warning}\n")
    letters = f"{remote.folder(there, session.host)}/letters"
    letter = connected.write_private(letters, remote.letter(verb, variables))
    try:
        code, _, _ = connected.run(remote.command(there, letter, [verb, *flags]), session.out, session.err)
    finally:
        connected.remove(letter)
    return code


def _error_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (named or lines[-1:] or [""])[0]


def _token(settings: Settings) -> str:
    """Return the operator's token; none where there is none, which is not made here."""
    if settings.api_token:
        return settings.api_token.reveal()
    try:
        return (settings.home / "token").read_text().strip()
    except OSError:
        return ""


def _plain(found: Any) -> Any:
    """Turn a part of Invoke's configuration into plain mappings."""
    return {key: _plain(value) for key, value in found.items()} if hasattr(found, "items") else found
