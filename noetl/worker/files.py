"""The DuckDB file that an execution's steps share: fetched before a step unless it is here, stored after one that has changed it.

Beside the local file is a stamp that says which stored version it is. It is removed before a step begins and written when what the step
made of the file is stored: a file without a stamp, or with another one than the version that counts, is fetched anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from noetl.errors import NoetlError
from noetl.worker.api import Api
from noetl.worker.job import Failed, Job, Large, Outcome
from noetl.worker.results import CHUNK, LEVEL, until_away

Json = Any


@dataclass(frozen=True, slots=True)
class Version:
    """A stored version: the command and the fence that it is from (None for no version), and the digest of its bytes."""

    command: int | None
    fence: int | None
    digest: str = ""


class Files:
    """Lets jobs run on their executions' files, of each execution one at a time."""

    def __init__(self, api: Api, limit: int) -> None:
        self._api = api
        self._limit = limit
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def around(self, job: Job, path: Path, run: Callable[[], Awaitable[Outcome]], live: Callable[[], bool]) -> Outcome:
        """Fetch the file, run the job, store what it has made of the file. After a failure the file is as it was before."""
        turn = self._turns.setdefault(job.key[0], asyncio.Lock())
        async with turn:
            try:
                before = await until_away(partial(self._bring, job, path), live)
            except NoetlError as error:
                return Failed(error.as_error("the execution's DuckDB file cannot be fetched: "))
            outcome = await run()
            if isinstance(outcome, Failed):
                return outcome
            try:
                kept = await self._keep(job, path, before, live)
            except NoetlError as error:
                kept = Failed(error.as_error("the execution's DuckDB file cannot be stored: "))
        if kept is None:
            return outcome
        if isinstance(outcome, Large):
            os.unlink(outcome.file)  # noqa: PTH108
        return kept

    async def _bring(self, job: Job, path: Path) -> Version:
        """See to it that the local file is the version that counts, or is not there, and take its stamp away."""
        url = f"/api/worker/file/{job.key[0]}"
        found = await self._api.get(url)
        here = _stamp(path)
        _stamp_file(path).unlink(missing_ok=True)
        if found["command"] is not None and here is not None and (here.command, here.fence) == (found["command"], found["fence"]):
            return here
        for leftover in (path, _log_file(path)):
            leftover.unlink(missing_ok=True)
        if found["command"] is None:
            return Version(None, None)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        coming = path.with_suffix(".part")
        await self._api.download(f"{url}/{found['command']}/{found['fence']}", coming)
        if coming.stat().st_size != found["size"]:
            raise NoetlError("it has not come whole", code="incomplete")
        coming.replace(path)
        return Version(found["command"], found["fence"], await asyncio.to_thread(_digest, path))

    async def _keep(self, job: Job, path: Path, before: Version, live: Callable[[], bool]) -> Failed | None:
        """Store the file if it is another one than before; return why it cannot be."""
        if _log_file(path).exists():
            return Failed({"message": "the step has left the execution's DuckDB file open", "type": "duckdb"})
        size = os.path.getsize(path)  # noqa: ASYNC240, PTH202 - of a file of this machine
        if size > self._limit:
            megabytes = f"{size / 1024**2:.1f} MiB, and only {self._limit / 1024**2:.1f} MiB can go from one worker to another"
            advice = "give the steps a file of their own with `database: PATH`, or raise NOETL_MAX_RESULT of servers and workers"
            return Failed(NoetlError(f"the execution's DuckDB file has {megabytes}", advice, code="too_large").as_error())
        now = Version(job.key[1], job.key[2], await asyncio.to_thread(_digest, path))
        if now.digest == before.digest:
            _write_stamp(path, before)
            return None
        url = f"/api/worker/file/{'/'.join(map(str, job.key))}"
        with path.open("rb") as file:
            for number in range(-(-size // CHUNK)):
                body = await asyncio.to_thread(_piece, file.read(CHUNK))
                await until_away(partial(self._api.put, f"{url}/{number}", body), live)
        await until_away(partial(self._api.post, url, {"size": size}), live)
        _write_stamp(path, now)
        return None


def _piece(data: bytes) -> bytes:
    return zlib.compress(data, LEVEL)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _log_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _stamp_file(path: Path) -> Path:
    return path.with_suffix(".stamp")


def _stamp(path: Path) -> Version | None:
    try:
        return Version(**json.loads(_stamp_file(path).read_text())) if path.exists() else None
    except (OSError, ValueError, TypeError):
        return None


def _write_stamp(path: Path, version: Version) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"command": version.command, "fence": version.fence, "digest": version.digest}))
    new.replace(_stamp_file(path))
