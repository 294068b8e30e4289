"""Results too large to travel with commands and reports: between files of this worker and the server, one piece at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from noetl.errors import NoetlError, Unavailable
from noetl.worker.api import Api
from noetl.worker.job import Failed, Job, Key, Large, Outcome

CHUNK = 1024 * 1024
"""The most bytes of text in one piece."""
LEVEL = 1
"""zlib's fastest level: 2 to 3 times smaller for most JSON, at more than 100 MB a second."""
AT_ONCE = 2
"""How many values pass at once, whatever the number of slots."""
FORGOTTEN = 24 * 3600.0
"""Seconds after which a file is nobody's any more: its worker was killed."""
T = TypeVar("T")


class Results:
    """Brings large values that jobs need, and sends large results ahead of their reports."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api = api
        self._folder = folder
        self._passing = asyncio.Semaphore(AT_ONCE)
        self._count = 0

    @contextlib.contextmanager
    def files(self, job: Job) -> Iterator[list[Path]]:
        """Keep the files of a job's values as long as it runs."""
        files: list[Path] = []
        try:
            yield files
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    async def bring(self, job: Job, files: list[Path]) -> Job:
        """Return the job with the values that did not travel with it in files."""
        brought: dict[str, str] = {}
        for address in {address for _, address in job.stored}:
            files.append(await self.fetched(job.key, f"/api/worker/stored/{address}"))
            brought[address] = str(files[-1])
        return dataclasses.replace(job, stored=tuple((path, brought[address]) for path, address in job.stored))

    async def fetched(self, key: Key, url: str) -> Path:
        """Return a new file with what the server has at a path."""
        self._count += 1
        file = self._folder / f"{'-'.join(map(str, key))}.{self._count}"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with self._passing:
            await self._api.download(url, file)
        return file

    async def send(self, key: Key, outcome: Large, live: Callable[[], bool]) -> Outcome:
        """Send a large result ahead of its report, for as long as its lease is live; what the server refuses is a failure."""
        file = open(outcome.file, "rb")  # noqa: ASYNC230, PTH123, SIM115 - a file of this machine, written a moment ago
        try:
            async with self._passing:
                for number in range(-(-outcome.size // CHUNK)):
                    body = await asyncio.to_thread(_piece, file.read(CHUNK))
                    await until_away(partial(self._api.put, f"/api/worker/chunk/{'/'.join(map(str, key))}/{number}", body), live)
        except NoetlError as error:
            return Failed(error.as_error("the result cannot be stored: "))
        finally:
            file.close()
            os.unlink(outcome.file)  # noqa: PTH108
        return outcome

    def clear(self) -> None:
        """Remove files that a killed worker has left."""
        before = time.time() - FORGOTTEN
        with contextlib.suppress(FileNotFoundError):
            for file in self._folder.iterdir():
                if file.stat().st_mtime < before:
                    file.unlink(missing_ok=True)


async def until_away(ask: Callable[[], Awaitable[T]], live: Callable[[], bool]) -> T:
    """Ask a server that is away again, for as long as there is a reason to."""
    while True:
        try:
            return await ask()
        except Unavailable:
            if not live():
                raise
        await asyncio.sleep(0.5)


def _piece(text: bytes) -> bytes:
    return zlib.compress(text, LEVEL)
