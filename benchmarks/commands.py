"""How long commands take to start, beside the bare interpreter."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

RUNS = 7


def seconds(argv: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> float:
    """Return how long a command took; it must succeed."""
    started = time.perf_counter()
    subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environ))
    return time.perf_counter() - started


def measure(home: Path, port: int) -> dict[str, float]:
    """Return the medians in milliseconds of commands run in turn, beside a stack that runs in `home`."""
    environ = {**os.environ, "NOETL_HOME": str(home), "NOETL_PORT": str(port)}
    bin_folder, checkout = Path(sys.executable).parent, Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "tasks.py").write_text("from invoke import task\n\n\n@task\ndef nothing(c):\n    pass\n")
        commands = {
            "python -c pass": ([sys.executable, "-c", "pass"], checkout),
            "inv --list, empty tasks.py": ([str(bin_folder / "inv"), "--list"], Path(empty)),
            "inv --list": ([str(bin_folder / "inv"), "--list"], checkout),
            "noetl --version": ([str(bin_folder / "noetl"), "--version"], checkout),
            "noetl server status": ([str(bin_folder / "noetl"), "server", "status"], checkout),
            "noetl worker list": ([str(bin_folder / "noetl"), "worker", "list"], checkout),
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, (argv, cwd) in commands.items():
                taken[name].append(seconds(argv, cwd, environ))
    return {name: statistics.median(times) * 1000 for name, times in taken.items()}
