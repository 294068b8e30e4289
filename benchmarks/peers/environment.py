"""Environments of peers: a venv each, kept between runs, and processes in it that report to nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from benchmarks.peers.peer import CHECKOUT
from noetl.errors import NoetlError

SILENT = {
    "DO_NOT_TRACK": "1",
    "RESTATE_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "SCARF_ANALYTICS": "false",
    "NO_UPDATE_NOTIFIER": "1",
}
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


def folder() -> Path:
    """Return where the environments are kept; NOETL_BENCH_CACHE names another place."""
    return Path(os.environ.get("NOETL_BENCH_CACHE") or Path.home() / ".cache" / "noetl-bench").absolute()


def install_python(environment: Path, requirements: Sequence[str]) -> None:
    """Make a venv with these packages, unless it was finished before."""
    done, wanted = environment / "installed", "\n".join(requirements)
    if done.exists() and done.read_text() == wanted:
        return
    command([sys.executable, "-m", "venv", "--clear", str(environment)], environment.parent)
    command([str(environment / "bin" / "pip"), "install", "--quiet", *requirements], environment.parent)
    done.write_text(wanted)


def command(words: Sequence[str], cwd: Path) -> None:
    """Run a command of an installation; raise NoetlError with its last words if it fails."""
    cwd.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(words, cwd=cwd, env=dict(os.environ) | SILENT, check=True, capture_output=True, text=True, timeout=600)
    except FileNotFoundError as error:
        raise NoetlError(f"{words[0]} is not installed", f"install {words[0]}, or leave this peer out of --peers") from error
    except subprocess.CalledProcessError as error:
        said = " / ".join((error.stderr or error.stdout or "").strip().splitlines()[-2:])
        raise NoetlError(f"{' '.join(words[:4])} … failed: {said}", "is the package registry reachable?") from error
    except subprocess.TimeoutExpired as error:
        raise NoetlError(f"{' '.join(words[:4])} … took longer than ten minutes", "is the package registry reachable?") from error


def environ(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a peer's processes: nothing of the caller's settings, telemetry off."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | SILENT | dict(more)


@contextlib.asynccontextmanager
async def running(
    words: Sequence[str], data: Path, log: str, more: Mapping[str, str], *, piped: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process of a peer in a session of its own, its words in a log of the data folder."""
    pipe = asyncio.subprocess.PIPE if piped else None
    with (data / log).open("ab") as into:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=CHECKOUT,
            env=environ(more),
            stdin=pipe or asyncio.subprocess.DEVNULL,
            stdout=pipe or into,
            stderr=into,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def until_open(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until something listens on a port of this machine."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.1)
    raise NoetlError(f"nothing listens on port {port}: {last_words(log)}", f"see {log}")


def last_words(log: Path) -> str:
    """Return the last line of a log that says anything."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1][:200] if lines else "it said nothing"


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
