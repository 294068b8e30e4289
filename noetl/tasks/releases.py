"""What the verbs of `host` do on one host, over its connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noetl.errors import NoetlError
from noetl.ops import release, tables
from noetl.ops.release import Wheel
from noetl.tasks.connection import Remote
from noetl.tasks.fan_out import Session


def installing(wheel: Wheel, wheelhouse: str, *, force: bool) -> Callable[[Session], int]:
    """Return the work that installs a wheel on a host."""

    def work(session: Session) -> int:
        remote = session.connect()
        home = _ask(session, remote, ["info", session.host.home])["home"]
        wheels = f"{home}/wheels" if wheelhouse else ""
        if wheelhouse:
            there = remote.sizes(wheels)
            for file in sorted(Path(wheelhouse).glob("*.whl")):
                if there.get(file.name) != file.stat().st_size:
                    remote.upload(file, f"{wheels}/{file.name}")
        # Two builds of one version have one name.
        target = f"{home}/wheels/{wheel.sha256[:16]}/{wheel.file.name}"
        if remote.sizes(target.rpartition("/")[0]).get(wheel.file.name) != wheel.file.stat().st_size:
            remote.upload(wheel.file, target)
        words = ["install", session.host.home, wheel.version, target, wheel.sha256]
        words += [*(["--wheels", wheels] if wheels else []), *(["--force"] if force else [])]
        done = _ask(session, remote, words)
        before = f", before it {done['before']}" if done["before"] not in (None, done["version"]) else ""
        session.out.write(f"noetl {done['version']}: {'installed' if done['new'] else 'was installed'}, in use{before}\n")
        return 0

    return work


def rolling_back(session: Session) -> int:
    """Switch a host to the version before."""
    done = _ask(session, session.connect(), ["rollback", session.host.home])
    session.out.write(f"noetl {done['version']}: in use again, before it {done['before']}\n")
    session.out.write(f"running workers stay as they are until: inv -H {session.host.name} worker.roll\n")
    return 0


def describing(session: Session) -> int:
    """Show a host's versions."""
    found = _ask(session, session.connect(), ["info", session.host.home])
    if session.silent:
        session.out.write(json.dumps(found))
        return 0
    versions = ", ".join(found["versions"]) or "none"
    platform = f"Python {found['python']}, {found['machine']}, {' '.join(found['libc'])}, {tables.size(found['free'])} free"
    session.out.write(f"in use {found['current'] or 'none'}; installed {versions}; {platform}\n")
    return 0


def asking(session: Session, places: list[dict[str, Any]]) -> int:
    """Ask a host for its Python and platform."""
    places.append(_ask(session, session.connect(), ["info", session.host.home]))
    return 0


def _ask(session: Session, remote: Remote, words: list[str]) -> dict[str, Any]:
    code, said, errors = remote.run(release.command(session.host, words))
    if code:
        lines = [line for line in errors.splitlines() if line.startswith("error: ")] or errors.splitlines()[-1:] or [f"exit code {code}"]
        raise NoetlError(lines[-1].removeprefix("error: "), f"see what is there: inv -H {session.host.name} host.list")
    try:
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise NoetlError(f"it answered {said.strip()[:200]!r}", "does its login shell print something by itself?") from error
    return found
