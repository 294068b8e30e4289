"""A peer whose library runs in one program: it is given work as lines, and answers each with a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil

from benchmarks.peers import environment
from benchmarks.peers.peer import Place, Work
from noetl.errors import NoetlError
from noetl.settings import Postgres


class Program:
    """A program of a peer that is up."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def run(self, work: Work) -> None:
        """Give it work and wait for its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps({"kind": work.kind, "count": work.count}).encode() + b"\n")
            await self._process.stdin.drain()
        await self.answer()

    async def answer(self) -> None:
        """Wait for a line; raise NoetlError where it tells of a failure or the program ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise NoetlError(f"the program ended: {environment.last_words(self._log)}", f"see {self._log}")
        if problem := json.loads(line).get("error"):
            raise NoetlError(str(problem), f"see {self._log}")

    def processes(self) -> list[psutil.Process]:
        """Return none: the caller is in the same process, and its CPU cannot be told from the library's."""
        return []


@contextlib.asynccontextmanager
async def started(place: Place, module: str, more: Mapping[str, str]) -> AsyncIterator[Program]:
    """Start a program of benchmarks/peers/programs and wait until it takes work."""
    words = [str(place.environment / "bin" / "python"), "-m", f"benchmarks.peers.programs.{module}"]
    log = f"{module}.log"
    async with environment.running(words, place.data, log, more, piped=True) as process:
        program = Program(process, place.data / log)
        await asyncio.wait_for(program.answer(), environment.START_TIMEOUT)
        yield program


def dsn(postgres: Postgres, scheme: str = "postgresql") -> str:
    """Return the address of a database with its password, for a process's environment."""
    return f"{scheme}://{postgres.user}:{postgres.password.reveal()}@{postgres.host}:{postgres.port}/{postgres.database}"
