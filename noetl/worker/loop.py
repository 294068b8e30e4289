"""A worker: takes commands, has them run, reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from noetl import __version__
from noetl.bus import subjects
from noetl.bus.jetstream import Bus, Rings
from noetl.errors import NoetlError, NotFound, Unauthorized, Unavailable
from noetl.settings import Secret, Settings
from noetl.worker.api import Api
from noetl.worker.heartbeat import Heartbeat
from noetl.worker.job import Failed, Job, Key, Outcome
from noetl.worker.playbooks import Playbooks
from noetl.worker.sandbox import Sandbox

logger = logging.getLogger("noetl.worker")
Json = Any
T = TypeVar("T")
LISTEN = 20.0
"""Seconds for which a worker waits for a ring before it listens anew."""
DRAIN = 5.0
"""Seconds that running steps have to finish once the worker is told to stop."""
SHORT = 0.02
"""Steps that take less than this on average are taken ahead of free slots, so that their batches are larger."""
AHEAD = 3
STALE_AHEAD = 1.0
"""Seconds after which commands taken ahead that have not started are handed back."""

PATIENCE = 60.0
"""Seconds for which a step waits for what it needs of a server that is away."""
CLEAR = 600.0
"""Seconds between looks at the folders that executions left here."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is over, to be reported."""

    key: Key
    outcome: Outcome
    started_at: float
    attempt: int


@dataclass(slots=True)
class Taken:
    """A command that is leased to this worker and has not started."""

    job: Job
    attempt: int
    since: float


class Worker:
    """One worker process. `run` returns when it was told to stop and has drained."""

    def __init__(self, settings: Settings, api: Api, token: Secret, *, name: str, pool: str, slots: int, nats_url: Secret | None) -> None:
        self._settings = settings
        self._api = api
        self._token = token
        self._given_nats = nats_url
        self.name = name
        self.pool = pool
        self.slots = slots
        self.id = f"{name}:{secrets.token_hex(4)}"
        self._playbooks = Playbooks(api, settings)
        self._sandbox = Sandbox(
            size=slots,
            memory=settings.step_memory,
            workdir=settings.home / "work",
            environ=os.environ,
            fetch=self._fetch,
            max_result=settings.max_result,
        )
        self._taken: deque[Taken] = deque()
        self._running: dict[Key, float] = {}
        self._reporting: dict[Key, None] = {}
        self._finished: list[Finished] = []
        self._promised = 0
        self._average = SHORT
        self._draining = False
        self._free = asyncio.Event()
        self._report = asyncio.Event()
        self._stop = asyncio.Event()
        self._asked = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Say hello, work until `stop` is called, drain, say bye."""
        await self._api.open()
        hello = await self._hello()
        await self._sandbox.start()
        nats_url = self._given_nats or (Secret(hello["nats_url"]) if hello["nats_url"] else None)
        heartbeat = self._heartbeat(hello["heartbeat_seconds"])
        heartbeat.start()
        listening = self._spawn(self._always(lambda: self._listen(nats_url)))
        reporting = self._spawn(self._always(self._reports))
        self._spawn(self._always(self._watch_ahead))
        self._spawn(self._always(self._clear))
        logger.info("worker %s is ready: pool %s, %d slots", self.id, self.pool, self.slots)
        try:
            await self._stop.wait()
            await self._drain(listening)
        finally:
            heartbeat.stop()
            reporting.cancel()
            for task in list(self._tasks):
                task.cancel()
            await self._sandbox.close()
            with contextlib.suppress(NoetlError, TimeoutError):
                await asyncio.wait_for(self._api.post("/api/worker/bye", {"worker_id": self.id}), 1)
            await self._api.close()

    def stop(self) -> None:
        """Drain and end."""
        self._draining = True
        self._stop.set()

    @property
    def free(self) -> int:
        """How many more commands this worker would take now."""
        if self._draining:
            return 0
        ahead = self.slots * AHEAD if self._average < SHORT else 0
        return max(0, self.slots + ahead - len(self._running) - len(self._taken) - self._promised)

    async def _always(self, work: Callable[[], Awaitable[None]]) -> None:
        """Keep something going until the worker drains: a worker must not go deaf or dumb by a mistake."""
        while not self._draining:
            try:
                await work()
            except Exception:
                logger.exception("worker %s stumbled and goes on", self.id)
                await asyncio.sleep(1)

    async def _hello(self) -> dict[str, Json]:
        who = {
            "worker_id": self.id,
            "name": self.name,
            "pool": self.pool,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "slots": self.slots,
        }
        waited = 0.0
        while True:
            try:
                return await self._api.post("/api/worker/hello", who)
            except Unauthorized:
                raise
            except Unavailable as error:
                if waited >= 30:
                    raise
                logger.warning("%s; trying again", error.message)
            await asyncio.sleep(0.5)
            waited += 0.5

    async def _listen(self, nats_url: Secret | None) -> None:
        """Hear rings and claim; long-poll the server where NATS is away."""
        bus = Bus(nats_url, f"noetl-worker-{self.id}") if nats_url else None
        rings: Rings | None = None
        opened = False
        try:
            while not self._draining:
                await self._until_free()
                try:
                    if bus is not None and opened and not bus.connected:
                        rings = None
                    elif bus is not None and rings is None:
                        if not opened:
                            await bus.open(wait=3)
                            opened = True
                            await bus.listen(subjects.CANCELLED, self._cancelled)
                        rings = await bus.rings(self.pool)
                        await self._claim(0)
                    if rings is None:
                        await self._claim(LISTEN)
                    else:
                        await self._hear(rings)
                except Unavailable as error:
                    logger.warning("%s", error.message)
                    rings = None
                    await self._claim_somehow(2.0)
                except NoetlError as error:
                    logger.warning("claiming failed: %s", error.message)
                    await asyncio.sleep(1)
        finally:
            if rings is not None:
                await rings.close()
            if bus is not None and opened:
                await bus.close()

    async def _hear(self, rings: Rings) -> None:
        """Wait for a ring, or for the heartbeat to say that commands wait; claim as many as there is room for."""
        hearing = asyncio.ensure_future(rings.take(max(1, min(self.free, 64)), LISTEN))
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({hearing, asked}, return_when=asyncio.FIRST_COMPLETED)
            self._asked.clear()
            heard = hearing.result() if hearing.done() else []
        finally:
            hearing.cancel()
            asked.cancel()
            await asyncio.gather(hearing, asked, return_exceptions=True)
        await self._claim(0)
        await rings.answered(heard)

    async def _claim_somehow(self, seconds: float) -> None:
        try:
            await self._claim(seconds)
        except NoetlError as error:
            logger.warning("%s", error.message)
            await asyncio.sleep(0.5)

    async def _claim(self, seconds: float) -> None:
        """Claim while commands wait and slots are free."""
        while (most := self.free) > 0:
            self._promised += most
            try:
                question = {"worker_id": self.id, "pool": self.pool, "most": most, "wait": seconds}
                commands = (await self._api.post("/api/worker/claim", question))["commands"]
            finally:
                self._promised -= most
            await self._take(commands)
            if len(commands) < most:
                return

    async def _until_free(self) -> None:
        while self.free == 0 and not self._draining:
            self._free.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._free.wait(), 1)

    async def _take(self, commands: Iterable[dict[str, Json]]) -> None:
        for command in commands:
            key = (command["execution_id"], command["command_id"], command["fence"])
            if key in self._running or key in self._reporting or any(taken.job.key == key for taken in self._taken):
                continue
            try:
                job = await _patiently(partial(self._playbooks.job, command))
            except NoetlError as error:
                self._over(Finished(key, Failed({"message": error.message, "type": error.code}), time.time(), command["attempt"]))
                continue
            self._taken.append(Taken(job, command["attempt"], time.monotonic()))
        self._begin()

    def _begin(self) -> None:
        while self._taken and len(self._running) < self.slots:
            taken = self._taken.popleft()
            self._running[taken.job.key] = time.time()
            self._spawn(self._perform(taken))

    async def _perform(self, taken: Taken) -> None:
        key = taken.job.key
        started = time.perf_counter()
        outcome = await self._sandbox.run(taken.job)
        self._average += 0.2 * (time.perf_counter() - started - self._average)
        at = self._running.pop(key, None)
        killed = isinstance(outcome, Failed) and outcome.error.get("type") == "killed"
        if at is not None and not killed:
            self._over(Finished(key, outcome, at, taken.attempt))
        self._begin()
        self._free.set()

    def _over(self, finished: Finished) -> None:
        self._finished.append(finished)
        self._reporting[finished.key] = None
        self._report.set()

    async def _reports(self) -> None:
        """Report what is finished, all of it at once; go on trying until it is answered."""
        while True:
            await self._report.wait()
            self._report.clear()
            batch, self._finished = self._finished, []
            while batch:
                batch = await self._send(batch)
                if batch:
                    await asyncio.sleep(0.3)

    async def _send(self, batch: list[Finished]) -> list[Finished]:
        """Report a batch; return what has to be reported again."""
        free = self.free
        self._promised += free
        try:
            answer = await self._api.report(self._header(batch, free), [finished.outcome.result_json or b"" for finished in batch])
        except NoetlError as error:
            self._promised -= free
            if not isinstance(error, Unavailable) and len(batch) > 1:
                return [again for finished in batch for again in await self._send([finished])]
            logger.warning("a report was not taken: %s", error.message)
            return self._again(batch, error)
        self._promised -= free
        again = []
        for finished, word in zip(batch, answer["answers"], strict=True):
            if word in ("refused: unavailable", "refused: moved_on", "refused: not_leased"):
                again.append(finished)
                continue
            if word not in ("recorded", "duplicate"):
                logger.warning("execution %s command %d: the report is %s", finished.key[0], finished.key[1], word)
            self._reporting.pop(finished.key, None)
        await self._take(answer["commands"])
        self._free.set()
        return again

    def _again(self, batch: list[Finished], error: NoetlError) -> list[Finished]:
        """What a server refuses for good becomes the step's error, once."""
        if isinstance(error, Unavailable):
            return batch
        finished = batch[0]
        if isinstance(finished.outcome, Failed) and finished.outcome.result_json is None:
            self._reporting.pop(finished.key, None)
            return []
        failed = Failed({"message": f"the result was refused: {error.message}", "type": error.code})
        return [Finished(finished.key, failed, finished.started_at, finished.attempt)]

    def _header(self, batch: list[Finished], free: int) -> dict[str, Json]:
        reports: list[dict[str, Json]] = []
        for finished in batch:
            eid, command, fence = finished.key
            entry = {
                "execution_id": eid,
                "command_id": command,
                "fence": fence,
                "attempt": finished.attempt,
                "started_at": finished.started_at,
                "size": len(finished.outcome.result_json or b""),
                "status": "done",
            }
            if isinstance(finished.outcome, Failed):
                entry |= {"status": "failed", "error": finished.outcome.error}
            reports.append(entry)
        return {"worker_id": self.id, "pool": self.pool, "free": free, "held": self._held(), "reports": reports}

    def _held(self) -> list[list[Json]]:
        keys = [*list(self._running), *[taken.job.key for taken in list(self._taken)], *list(self._reporting)]
        return [list(key) for key in keys]

    def _heartbeat(self, seconds: float) -> Heartbeat:
        loop = asyncio.get_running_loop()

        def describe() -> dict[str, Json]:
            return {"worker_id": self.id, "held": self._held(), "draining": self._draining, "free": self.free, "pool": self.pool}

        def heard(answer: dict[str, Json]) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._heard, answer)

        return Heartbeat(self._api.url, self._token, seconds, describe, heard)

    def _heard(self, answer: dict[str, Json]) -> None:
        for eid, command, fence in answer["lost"]:
            self._lose((eid, command, fence))
        if answer["waiting"]:
            self._asked.set()
        if answer["unknown"] and not self._draining:
            self._spawn(self._hello())

    def _lose(self, key: Key) -> None:
        """A lease is no longer ours: its processes die, its result does not count."""
        self._taken = deque(taken for taken in self._taken if taken.job.key != key)
        if key in self._running:
            logger.warning("execution %s command %d is no longer leased to this worker: it is stopped", key[0], key[1])
            self._sandbox.kill(key)

    async def _cancelled(self, body: bytes) -> None:
        """An execution was cancelled: nothing of it goes on here."""
        eid = body.decode()
        for key in [key for key in self._running if key[0] == eid]:
            self._sandbox.kill(key)
        self._taken = deque(taken for taken in self._taken if taken.job.key[0] != eid)

    async def _watch_ahead(self) -> None:
        """Hand back what was taken ahead and does not get its turn."""
        while True:
            await asyncio.sleep(STALE_AHEAD)
            now = time.monotonic()
            stale = [taken for taken in self._taken if now - taken.since > STALE_AHEAD]
            if stale and len(self._running) >= self.slots:
                self._average = max(self._average, SHORT)
                await self._hand_back(stale)

    async def _clear(self) -> None:
        """Remove the folders of executions that are over."""
        while True:
            for folder in await asyncio.to_thread(old_folders, self._settings.home / "work" / "executions"):
                try:
                    over = (await self._api.get(f"/api/executions/{folder}/status"))["completed"]
                except NotFound:
                    over = True
                if over:
                    self._sandbox.forget(folder)
            await asyncio.sleep(CLEAR)

    async def _hand_back(self, taken: list[Taken]) -> None:
        keys = {one.job.key for one in taken}
        self._taken = deque(one for one in self._taken if one.job.key not in keys)
        with contextlib.suppress(NoetlError, TimeoutError):
            await asyncio.wait_for(self._api.post("/api/worker/return", {"worker_id": self.id, "held": [list(key) for key in keys]}), 2)

    async def _drain(self, listening: asyncio.Task[Any]) -> None:
        """Take nothing more, give back what has not started, let what runs finish within a bound, give the rest back."""
        listening.cancel()
        logger.info("worker %s drains: %d running", self.id, len(self._running))
        await self._hand_back(list(self._taken))
        deadline = time.monotonic() + DRAIN
        while (self._running or self._reporting) and time.monotonic() < deadline:
            self._free.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._free.wait(), 0.1)
        unfinished = list(self._running)
        for key in unfinished:
            self._running.pop(key)
            self._sandbox.kill(key)
        if unfinished:
            logger.info("worker %s hands %d unfinished commands back", self.id, len(unfinished))
            with contextlib.suppress(NoetlError, TimeoutError):
                await asyncio.wait_for(
                    self._api.post("/api/worker/return", {"worker_id": self.id, "held": [list(key) for key in unfinished]}), 1
                )

    async def _fetch(self, job: Job, kind: str, name: str) -> Json:
        match kind:
            case "credential":
                return await _patiently(partial(self._api.credential, name))
            case "context":
                return await _patiently(partial(self._api.context, job.key[0], name))
            case _:
                raise NotFound(f"there is nothing of kind {kind}")

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task failed: %r", task.exception(), exc_info=task.exception())


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the server again while it is away."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await ask()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.5)


def old_folders(where: Path) -> list[str]:
    """Return some of the executions whose folders have not changed for a while."""
    before = time.time() - CLEAR
    try:
        return [folder.name for folder in where.iterdir() if folder.name.isdigit() and folder.stat().st_mtime < before][:100]
    except FileNotFoundError:
        return []
