"""The verbs of those who work on noetl itself, in a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from noetl.errors import UsageError
from noetl.tasks.checkout import checkout
from noetl.tasks.flags import JSON
from noetl.tasks.verb import note, verb

_CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy", "--strict", "noetl", "chaos"),
    ("lint-imports",),
)


@verb(
    auto_shortflags=True,
    help={
        "unit": "only the tests that need nothing, in seconds",
        "keyword": "only the tests whose names match this expression",
        "path": "only the tests of this file or folder",
    },
)
def test(_context: Context, unit: bool = False, keyword: str = "", path: str = "") -> None:
    """Run the tests."""
    chosen = [path] if path else ["tests/unit"] if unit else []
    _check([sys.executable, "-m", "pytest", *chosen, *(["-k", keyword] if keyword else [])])


@verb()
def lint(_context: Context) -> None:
    """Check style, types and the layers of imports."""
    failed = []
    for words in _CHECKS:
        note(" ".join(words))
        if _run([str(Path(sys.executable).parent / words[0]), *words[1:]]):
            failed.append(" ".join(words))
    if failed:
        raise Exit(f"failed: {', '.join(failed)}", code=1)


@verb(
    optional=["peers"],
    help={
        **JSON,
        "only": "only the benchmarks whose names begin with this: start, engine; scale, which the others leave out, takes minutes",
        "peers": "the same work with Restate, DBOS, procrastinate and Prefect, installed from their registries; or some: restate,dbos",
    },
)
def bench(_context: Context, json: bool = False, only: str = "", peers: str | bool = "") -> None:
    """Measure noetl beside this machine's limits or its peers."""
    beside = ["--peers"] if peers is True else [f"--peers={peers}"] if peers else []
    _check([sys.executable, "-m", "benchmarks", *(["--json"] if json else []), *(["--only", only] if only else []), *beside])


@verb(
    help={
        **JSON,
        "seconds": "how long processes are killed and stopped",
        "seed": "repeat the plan of this seed",
    }
)
def chaos(_context: Context, seconds: float = 60.0, seed: int = -1, json: bool = False) -> None:
    """Kill and stop processes; prove that nothing was lost."""
    seeded = ["--seed", str(seed)] if seed >= 0 else []
    _check([sys.executable, "-m", "chaos", "--seconds", f"{seconds:g}", *seeded, *(["--json"] if json else [])])


def _run(command: Sequence[str]) -> int:
    environ = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    try:
        process = subprocess.Popen(command, cwd=checkout(), env=environ)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed", "pip install -e '.[dev]'") from error
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            # A terminal has interrupted it too. It has started things and stops them first; subprocess.run would kill it meanwhile.
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return code


def _check(command: Sequence[str]) -> None:
    if code := _run(command):
        raise Exit("", code=1 if code != 2 else 2)
