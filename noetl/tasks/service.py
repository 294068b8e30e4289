"""noetl as a service of systemd."""

from __future__ import annotations

import os
import sys

from invoke.context import Context

from noetl.tasks.verb import note, read_settings, say, verb


@verb(
    help={
        "only": "server, or worker (default: the whole stack)",
        "workers": "how many workers the whole stack has (default 1)",
        "name": "the worker's name, with --only worker (default worker-1)",
        "print": "print the unit, and write nothing",
    }
)
def install(_context: Context, only: str = "", workers: int = 1, name: str = "", print: bool = False) -> None:
    """Write a systemd user unit that keeps noetl up.

    What the environment tells noetl now goes into a private file beside it, NOETL_HOME/UNIT.env.
    """
    from noetl.ops import unit as units

    unit = units.plan(read_settings(), os.environ, only or "stack", workers=workers, name=name)
    if print:
        note(f"its environment would be in {unit.environment_file}")
        sys.stdout.write(unit.text)
        return
    path, changed = units.install(unit, os.environ)
    say(f"{path}: {'written' if changed else 'is as it should be'}")
    if problem := units.reload():
        note(f"the user's systemd does not answer ({problem}): log in as this user, then: systemctl --user daemon-reload")
    say(f"start it, and at boot:\n{units.next_lines(unit)}")
