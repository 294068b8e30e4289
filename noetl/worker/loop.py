"""A worker: takes commands, has them run in child processes, reports, and drains when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from noetl import __version__
from noetl.errors import NoetlError, NotFound, Unauthorized, Unavailable
from noetl.settings import Secret, Settings
from noetl.worker.ahead import Ahead
from noetl.worker.api import Api
from noetl.worker.claims import Claims
from noetl.worker.files import Files
from noetl.worker.heartbeat import Heard, Heartbeat
from noetl.worker.job import Failed, Job, Key, Large, Outcome
from noetl.worker.playbooks import Playbooks
from noetl.worker.reports import Reports
from noetl.worker.results import Results, until_away
from noetl.worker.sandbox import Sandbox
from noetl.worker.slots import SHORT, Slots, Taken

logger = logging.getLogger("noetl.worker")
Json = Any
T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for which a worker waits for its server when it starts, and when it needs a playbook to take a command."""
DRAIN = 5.0
"""Seconds that running steps have to finish once the worker is told to stop."""
TURN = 1.0
"""Seconds within which a command that was taken ahead must begin, or is handed back."""
UNSURE = 0.1
"""Seconds after which a worker asks again for a lease that is just being decided about."""
CLEAR = 600.0
"""Seconds between looks at the folders that executions left here."""


class Worker:
    """One worker process. `run` returns when it was told to stop and has drained."""

    def __init__(
        self, settings: Settings, api: Api, token: Secret, *, worker_id: str, replaces: str, pool: str, slots: int, nats_url: Secret | None
    ) -> None:
        self._settings = settings
        self._api = api
        self._token = token
        self._nats_url = nats_url
        self._replaces = replaces
        self.id = worker_id
        self.pool = pool
        self._slots = Slots(slots)
        self._playbooks = Playbooks(api, settings)
        self._reports = Reports(api, self._slots, worker_id=worker_id, pool=pool, take=self._take, ahead=self._foresee)
        self._claims: Claims | None = None
        self._sandbox = Sandbox(
            size=slots,
            memory=settings.step_memory,
            workdir=settings.home / "work",
            environ=os.environ,
            fetch=self._fetch,
            max_result=settings.max_result,
        )
        self._results = Results(api, settings.home / "work" / "results")
        self._alive = settings.home / f"worker-{worker_id.rpartition(':')[0]}.alive"
        self._files = Files(api, settings.max_result)
        self._beat = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Say hello, work until `stop` is called, drain, say bye."""
        self._alive.unlink(missing_ok=True)
        await self._api.open()
        try:
            await self._work(await self._hello())
        finally:
            await self._api.close()

    def stop(self) -> None:
        """Drain and end."""
        self._slots.draining = True
        self._stop.set()

    async def _work(self, hello: dict[str, Json]) -> None:
        """Take commands and run them as the server's hello says, until told to stop."""
        await self._sandbox.start()
        claims = self._claims = Claims(
            self._api,
            self._slots,
            worker_id=self.id,
            pool=self.pool,
            nats_url=self._nats_url or (Secret(hello["nats_url"]) if hello["nats_url"] else None),
            take=self._take,
            cancelled=self._cancelled,
            ahead=self._foresee,
        )
        self._beat = hello["heartbeat_seconds"]
        heartbeat = Heartbeat(self._api.url, self._token, hello["heartbeat_seconds"], self._describe, self._hearer(), self._alive)
        heartbeat.start()
        claiming = self._spawn(self._always(claims.run))
        parking = self._spawn(self._always(claims.park, lambda: self._slots.draining))
        for work in (self._reports.run, self._turns, self._clear):
            self._spawn(self._always(work))
        logger.info("worker %s is ready: pool %s, %d slots", self.id, self.pool, self._slots.size)
        try:
            await self._stop.wait()
            claiming.cancel()
            await self._leave(claims, parking)
            await self._drain()
        finally:
            heartbeat.stop()
            for task in list(self._tasks):
                task.cancel()
            await self._sandbox.close()
            with contextlib.suppress(NoetlError, TimeoutError):
                await asyncio.wait_for(self._api.post("/api/worker/bye", {"worker_id": self.id}), 1)

    async def _hello(self) -> dict[str, Json]:
        """Say hello; the leases of the process whose place this one took wait again at once."""
        name, _, _ = self.id.rpartition(":")
        who = {"worker_id": self.id, "name": name, "pool": self.pool, "slots": self._slots.size, "replaces": self._replaces}
        where = {"host": socket.gethostname(), "pid": os.getpid(), "version": __version__}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await self._api.post("/api/worker/hello", {**who, **where})
            except Unauthorized:
                raise
            except Unavailable as error:
                if time.monotonic() > deadline or self._stop.is_set():
                    raise
                logger.warning("%s; trying again", error.message)
            await asyncio.sleep(0.5)

    async def _leave(self, claims: Claims, parking: asyncio.Task[Any]) -> None:
        """Wait at the server no longer; a command that came at the last moment is held, so that it can be handed back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await claims.leave()
                await asyncio.wait({parking})

    async def _always(self, work: Callable[[], Awaitable[None]], over: Callable[[], bool] = lambda: False) -> None:
        """Keep something going until it is over: a worker must not go deaf or dumb by a mistake."""
        while not over():
            try:
                await work()
            except Exception:
                logger.exception("worker %s stumbled and goes on", self.id)
                await asyncio.sleep(1)

    def _foresee(self) -> Ahead:
        return Ahead(self._playbooks, self._sandbox, self._slots, self._begin)

    async def _take(self, commands: Sequence[dict[str, Json]], asked: float) -> None:
        """Hold commands that are leased to this worker since it asked, and begin what may."""
        keys = [(command["execution_id"], command["command_id"], command["fence"]) for command in commands]
        self._slots.arriving.update(keys)
        try:
            for key, command in zip(keys, commands, strict=True):
                await self._arrive(key, command, asked)
        finally:
            # Whatever happens: a lease that is held for nothing would never end.
            self._slots.arriving.difference_update(keys)
        self._begin()
        for key in keys:
            if key not in self._slots.running:
                self._sandbox.drop(key)

    async def _arrive(self, key: Key, command: dict[str, Json], asked: float) -> None:
        try:
            job = command.get("job") or self._playbooks.known_job(command)
            if job is None:
                job = await patiently(partial(self._playbooks.job, command))
            self._slots.take(job, command["attempt"], asked, bool(command.get("lost")))
        except Unavailable as error:
            logger.warning("execution %s command %d is given up: %s", key[0], key[1], error.message)
        except NoetlError as error:
            self._slots.refuse(key, command["attempt"], Failed(error.as_error()))
            self._reports.due()
        finally:
            self._slots.arriving.discard(key)

    def _begin(self) -> None:
        while (taken := self._slots.next()) is not None:
            if not taken.job.stored and self._sandbox.own_file(taken.job) is None:
                self._sandbox.begin(taken.job, self._until(taken))
            self._spawn(self._perform(taken))
        if self._slots.taken and len(self._slots.running) < self._slots.size and self._later is None:
            self._later = asyncio.get_running_loop().call_later(SHORT, self._begin_again)

    def _begin_again(self) -> None:
        self._later = None
        self._begin()

    async def _perform(self, taken: Taken) -> None:
        started = time.perf_counter()
        outcome = await self._outcome(taken)
        if isinstance(outcome, Failed) and outcome.error.get("type") == "killed":
            self._slots.running.pop(taken.job.key, None)
        self._slots.over(taken, outcome, time.perf_counter() - started)
        self._begin()
        self._reports.due()

    async def _outcome(self, taken: Taken) -> Outcome:
        job, until = taken.job, self._until(taken)
        if not job.stored:
            return await self._sent(job.key, await self._run(job, until))
        with self._results.files(job) as files:
            try:
                job = await until_away(partial(self._results.bring, job, files), lambda: job.key in self._slots.running)
            except NoetlError as error:
                return Failed(error.as_error())
            return await self._sent(job.key, await self._run(job, until))

    def _until(self, taken: Taken) -> float:
        """Return until when a command may begin on the last word on its lease.

        What has lost a worker before is announced before it begins, so that what only waited its turn is not held against it.
        """
        return 0.0 if taken.suspect else taken.sure + self._beat

    async def _sent(self, key: Key, outcome: Outcome) -> Outcome:
        """Send a large result ahead of its report."""
        if not isinstance(outcome, Large):
            return outcome
        return await self._results.send(key, outcome, lambda: key in self._slots.running)

    async def _run(self, job: Job, until: float) -> Outcome:
        path = self._sandbox.own_file(job)
        if path is None:
            return await self._sandbox.run(job, until)
        # Fetching the file may take a while: whether the lease is still ours is asked when the step begins.
        return await self._files.around(job, path, lambda: self._sandbox.run(job, until), lambda: job.key in self._slots.running)

    def _describe(self) -> dict[str, Json]:
        slots = self._slots
        return {"worker_id": self.id, "held": slots.held, "draining": slots.draining, "free": slots.free, "pool": self.pool}

    async def _confirmed(self, key: Key) -> float:
        """Return until when a command may begin under its lease; NotFound if that is no longer ours.

        A worker that was stopped for long must not begin what others have done: the answer may be as old as that, so it tells a moment.
        """
        while True:
            sent, described = time.monotonic(), {**self._describe(), "begun": [list(key)]}
            answer = await self._api.post("/api/worker/heartbeat", described)
            self._heard(answer, described["held"], sent)
            if list(key) in answer["lost"]:
                raise NotFound(f"execution {key[0]} command {key[1]} is no longer leased to this worker")
            if list(key) not in answer.get("unsure", ()):
                return sent + self._beat
            await asyncio.sleep(UNSURE)

    def _hearer(self) -> Heard:
        """Return what the heartbeat's thread calls with the server's answer."""
        loop = asyncio.get_running_loop()

        def heard(answer: dict[str, Json], held: list[list[Json]], sent: float) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._heard, answer, held, sent)

        return heard

    def _heard(self, answer: dict[str, Json], held: list[list[Json]], sent: float) -> None:
        """Take in what the server answered to a heartbeat that listed these leases and was sent at this moment."""
        for execution_id, command_id, fence in answer["lost"]:
            self._lose((execution_id, command_id, fence))
        unsure = {tuple(key) for key in answer.get("unsure", ())}
        self._slots.confirm(
            (key for execution_id, command_id, fence in held if (key := (execution_id, command_id, fence)) not in unsure), sent
        )
        if answer["waiting"] and self._claims is not None:
            self._claims.ask()
        if answer["unknown"] and not self._slots.draining:
            self._spawn(self._hello())

    def _lose(self, key: Key) -> None:
        """A lease is no longer ours: its processes die, its result does not count."""
        if self._slots.lose(key):
            logger.warning("execution %s command %d is no longer leased to this worker: it is stopped", key[0], key[1])
            self._sandbox.kill(key)

    def _cancelled(self, execution_id: str) -> None:
        for key in self._slots.of(execution_id):
            self._lose(key)

    async def _turns(self) -> None:
        """Hand back what was taken ahead and does not get its turn."""
        while True:
            await asyncio.sleep(TURN)
            if len(self._slots.running) >= self._slots.size:
                await self._hand_back(self._slots.waited(TURN), 2)

    async def _clear(self) -> None:
        """Remove the folders of executions that are over."""
        while True:
            for folder in await asyncio.to_thread(old_folders, self._settings.home / "work" / "executions"):
                try:
                    over = (await self._api.get(f"/api/executions/{folder}/status"))["completed"]
                except NotFound:
                    over = True
                except NoetlError:
                    break
                if over:
                    self._sandbox.forget(folder)
            await asyncio.to_thread(self._results.clear)
            await asyncio.sleep(CLEAR)

    async def _drain(self) -> None:
        """Take nothing more, give back what has not begun, let what runs finish within a bound, give the rest back."""
        slots = self._slots
        logger.info("worker %s drains: %d running", self.id, len(slots.running))
        await self._hand_back(slots.waited(-1), 2)
        deadline = time.monotonic() + DRAIN
        while (slots.running or slots.reporting) and time.monotonic() < deadline:
            slots.freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(slots.freed.wait(), 0.1)
        # What came meanwhile has not begun, and does not begin in the place of what is killed.
        unfinished = [*slots.running, *slots.waited(-1)]
        slots.running.clear()
        for key in unfinished:
            self._sandbox.kill(key)
        await self._hand_back(unfinished, 1)

    async def _hand_back(self, keys: list[Key], seconds: float) -> None:
        """Give leases back, so that another worker has the commands at once; if that fails the leases run out."""
        if not keys:
            return
        logger.info("worker %s hands %d commands back", self.id, len(keys))
        body = {"worker_id": self.id, "held": [list(key) for key in keys]}
        with contextlib.suppress(NoetlError, TimeoutError):
            await asyncio.wait_for(self._api.post("/api/worker/return", body), seconds)

    async def _fetch(self, job: Job, kind: str, name: str) -> Json:
        """Get what a step asks for; a server that is away fails no step: it is asked again for as long as the lease is ours."""
        ask: Callable[[], Awaitable[Json]]
        match kind:
            case "credential":
                ask = partial(self._api.credential, name)
            case "lease":
                ask = partial(self._confirmed, job.key)
            case "context":
                ask = partial(self._results.fetched, job.key, f"/api/worker/context/{job.key[0]}/{quote(name, safe='')}")
            case _:
                raise NotFound(f"there is nothing of kind {kind}")
        return await until_away(ask, lambda: job.key in self._slots.running)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task failed: %r", task.exception(), exc_info=task.exception())


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
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
