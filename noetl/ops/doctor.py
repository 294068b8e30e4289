"""Everything that has to be well for noetl to work here, looked at side by side, each within a limit of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from noetl.ops import check_machine, check_platforms, check_services
from noetl.ops.finding import BAD, NOTE, OK, WARN, Finding
from noetl.settings import Settings

LIMIT = 5.0


@dataclass(frozen=True)
class Check:
    """Something to look at: its name, how, and how bad it is where it gives no answer."""

    name: str
    look: Callable[[Settings], list[Finding]]
    silent: str = BAD


# The last two import what is large: beside it, no round trip of the first round would be measured right. They import much that is the same,
# and of two threads that import a module one may see half of it.
ROUNDS = (
    (
        Check("versions", check_machine.versions),
        Check("home", check_machine.home),
        Check("disk", check_machine.disk),
        Check("pid files", check_machine.pid_files),
        Check("port", check_machine.port),
        Check("database", check_services.database),
        Check("nats", check_services.nats),
        Check("server", check_services.server),
    ),
    (Check("docker", check_platforms.docker, NOTE),),
    (Check("kubernetes", check_platforms.kubernetes, WARN),),
)


def examine(settings: Settings, rounds: Sequence[Sequence[Check]] = ROUNDS, limit: float = LIMIT) -> list[Finding]:
    """Look at everything and return what was found, in a fixed order; what hangs is said to."""
    return [finding for checks in rounds for finding in _round(settings, checks, limit)]


def well(findings: Sequence[Finding]) -> bool:
    """Tell whether nothing is bad."""
    return all(one.state != BAD for one in findings)


def text(findings: Sequence[Finding], paint: Callable[[str, str], str]) -> str:
    """Lay findings out as lines, their states painted in the colour that `paint` gives to a code."""
    colours = {OK: "32", NOTE: "2", WARN: "33", BAD: "31"}
    width = max(len(one.name) for one in findings)
    lines = []
    for one in findings:
        taken = f" ({one.ms:g} ms)" if one.ms is not None else ""
        lines.append(f"{paint(one.state.ljust(4), colours[one.state])}  {one.name.ljust(width)}  {one.text}{taken}")
        lines += [f"{' ' * (width + 8)}{line}" for line in one.hint.splitlines()]
    return "\n".join(lines)


def _round(settings: Settings, checks: Sequence[Check], limit: float) -> list[Finding]:
    found: dict[str, list[Finding]] = {}

    def look(check: Check) -> None:
        try:
            found[check.name] = check.look(settings)
        except Exception as error:  # one that fails in a way nobody foresaw leaves the others their answers
            found[check.name] = [Finding(check.name, BAD, f"the check failed: {type(error).__name__}: {error}")]

    # Threads that nobody waits for at the end: a pool would wait for one that hangs.
    threads = [threading.Thread(target=look, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    until = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    silent = {check.name: [Finding(check.name, check.silent, f"no answer within {limit:g} s", "see: noetl ps")] for check in checks}
    return [finding for check in checks for finding in found.get(check.name, silent[check.name])]
