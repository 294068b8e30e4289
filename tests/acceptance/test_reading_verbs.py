"""Verbs that only look leave a home as they found it: an empty one stays empty, and they say what to type in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from acceptance_home import ROOT

from noetl.ops import ports

READING = [
    "--version", "--list", "--help", "--help up", "ps", "ps --json", "server status", "server status --json", "server logs",
    "worker list", "worker list --json", "worker logs", "logs", "doctor", "doctor --json", "host list", "service install --print",
    "execution list", "catalog list", "-R -H nowhere.invalid worker.start",
]  # fmt: skip
# What a verb says in a home where nothing was started yet.
TOLD = {
    "server status": "noetl server start --init-db",
    "server logs": "noetl up",
    "worker list": "noetl worker start",
    "worker logs": "noetl up",
    "logs": "noetl up",
    "execution list": "noetl up",
    "catalog list": "noetl up",
}


@pytest.mark.parametrize("program", ["noetl", "inv"])
def test_a_verb_that_looks_writes_nothing_and_says_what_to_type(tmp_path: Path, program: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_", "XDG_"))}
    environ = {**kept, "HOME": str(home), "NOETL_PORT": str(ports.free()), "NOETL_HOST": "127.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"}
    for line in READING:
        words = line.split()
        if program == "inv" and not line.startswith("-"):
            noun = [word for word in words if not word.startswith("-")]
            words = [".".join(noun), *words[len(noun) :]]
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *words],
            cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, f"{line}: {done.stderr}"
        left = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
        assert left == [], f"{program} {line} wrote {left}\n{done.stdout}{done.stderr}"
        assert TOLD.get(line, "") in done.stdout + done.stderr, f"{program} {line} said {done.stdout}{done.stderr}"
