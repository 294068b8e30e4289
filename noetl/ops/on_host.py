"""Releases of noetl in a home: this file alone travels to a host and runs there, on any Python from 3.11 on, without noetl.

`info HOME`, `install HOME VERSION WHEEL SHA256 [--wheels FOLDER] [--force]`, `rollback HOME`; each answers with one line of JSON.
A release is a virtual environment in HOME/releases/VERSION; HOME/current is a link to the one in use, changed at the very end.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_MARK = ".noetl-release.json"


class Refused(Exception):
    """What was asked cannot be done; its text says why."""


def main(argv: list[str]) -> int:
    """Do one of the three; return the exit code."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("info", "rollback", "install"):
        one = verbs.add_parser(name)
        one.add_argument("home")
        if name == "install":
            for word in ("version", "wheel", "sha256"):
                one.add_argument(word)
            one.add_argument("--wheels", default="")
            one.add_argument("--force", action="store_true")
    given = parser.parse_args(argv)
    home = Path(given.home).expanduser() if given.home else Path.home() / ".noetl"
    try:
        if given.verb == "info":
            found = info(home)
        else:
            with _alone(home):
                if given.verb == "install":
                    found = install(home, given.version, given.wheel, given.sha256, given.wheels, force=given.force)
                else:
                    found = rollback(home)
    except (Refused, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def info(home: Path) -> dict[str, object]:
    """Say what Python, platform and releases are here."""
    library, number = platform.libc_ver()
    room = shutil.disk_usage(next(path for path in (home, *home.parents) if path.exists()))
    return {
        "home": str(home),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libc": [library, number],
        "current": _current(home),
        "versions": sorted(path.parent.name for path in home.glob(f"releases/*/{_MARK}")),
        "free": room.free,
    }


def install(home: Path, version: str, wheel: str, sha256: str, wheels: str, *, force: bool) -> dict[str, object]:
    """Make the release unless it is there, and switch to it."""
    target = home / "releases" / version
    known = _mark(target)
    before = _current(home)
    if known.get("sha256") not in (None, sha256) and not force:
        raise Refused(f"{version} is installed here from another build: raise the version, or --force (its workers' files are replaced)")
    new = known.get("sha256") != sha256
    if new:
        shutil.rmtree(target, ignore_errors=True)
        try:
            _make(target, wheel, wheels)
            said = _run([str(target / "bin" / "noetl"), "--version"])
            if said.strip() != f"noetl {version}":
                raise Refused(f"what was installed says it is {said.strip()!r}, not noetl {version}")
            (target / _MARK).write_text(json.dumps({"version": version, "sha256": sha256}))
        except BaseException:
            # Half an environment only takes up a disk that may be full already.
            shutil.rmtree(target, ignore_errors=True)
            raise
    if before != version:
        _switch(home, version, [*_history(home), version])
    return {"version": version, "before": before, "new": new}


def rollback(home: Path) -> dict[str, object]:
    """Switch to the release that was in use before."""
    before = _current(home)
    history = _history(home)
    while history and (history[-1] == before or not _mark(home / "releases" / history[-1])):
        history.pop()
    if not history:
        raise Refused(f"nothing was in use here before {before or 'now'}")
    _switch(home, history[-1], history)
    return {"version": history[-1], "before": before}


def _make(target: Path, wheel: str, wheels: str) -> None:
    offline = ["--no-index", "--find-links", wheels] if wheels else []
    words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *offline, wheel]
    if not wheels or not (pip := sorted(Path(wheels).glob("pip-*.whl"))):
        try:
            _run([sys.executable, "-m", "venv", str(target)])
        except Refused as error:
            hint = "install the system's package for it (python3-venv), or give --wheelhouse: host.bundle puts pip into it"
            raise Refused(f"this Python makes no environment with pip ({error}): {hint}") from error
        _run([str(target / "bin" / "python"), *words])
        return
    # Debian's Python has no pip to put into an environment; a wheel of pip runs as it is.
    _run([sys.executable, "-m", "venv", "--without-pip", str(target)])
    _run([str(target / "bin" / "python"), *words], {"PYTHONPATH": str(pip[-1])})


def _run(words: list[str], more: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, env={**os.environ, **(more or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        told = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        named = [line for line in told if line.startswith("ERROR: ")]
        raise Refused((named or told or [f"{words[0]} ended with {done.returncode}"])[-1].removeprefix("ERROR: "))
    return done.stdout


def _current(home: Path) -> str | None:
    with contextlib.suppress(OSError):
        return (home / "current").readlink().name
    return None


def _switch(home: Path, version: str, history: list[str]) -> None:
    fresh = home / f".current.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / version)
    (home / "releases" / "history.json").write_text(json.dumps(history))
    fresh.replace(home / "current")


def _history(home: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        return [str(one) for one in json.loads((home / "releases" / "history.json").read_text())]
    return []


def _mark(target: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((target / _MARK).read_text())
        return found if isinstance(found, dict) else {}
    return {}


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one operator at a time change the releases; the others wait for it."""
    (home / "releases").mkdir(parents=True, exist_ok=True)
    with (home / "releases" / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
