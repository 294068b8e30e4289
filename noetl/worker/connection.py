"""The worker's end of a child process: one job at a time."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import orjson

from noetl.at_once import at_once
from noetl.deadline import Deadline
from noetl.errors import NoetlError
from noetl.playbook.duration import seconds
from noetl.playbook.model import Json
from noetl.tools.base import TOO_LONG
from noetl.tools.registry import KINDS, SINKS
from noetl.worker import frames, process_tree
from noetl.worker.job import Done, Failed, Job, Key, Large, Outcome
from noetl.worker.supervisor import describe

Fetch = Callable[[Job, str, str], Awaitable[Json]]
_GRACE = 2.0
"""Seconds beyond its limit that a tool which limits itself gets, to say so."""
_END_WITHIN = 5.0
_DROP_WITHIN = 5.0
"""Seconds that a process has to put down what was sent ahead: its templates may be at work, and could be for ever."""
_log = logging.getLogger("noetl.worker.step")


class Child(asyncio.Protocol):
    """A child process as the worker sees it. `kill` asks for its death, which `exited` then reports."""

    def __init__(
        self, number: int, fetch: Fetch, kill: Callable[[Child], None], result_file: Callable[[Key], str], frame_limit: int
    ) -> None:
        self.number = number
        self.pid: int | None = None
        self.leaving = False
        self.job: Job | None = None
        self.used_secrets = False
        self._fetch = fetch
        self._kill = kill
        self._result_file = result_file
        self._decoder = frames.Decoder(frame_limit)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outcome: asyncio.Future[Outcome] | None = None
        self._deadline = Deadline(self._too_long)
        self._bound = 0.0
        self._failure: Failed | None = None
        self._status: int | None = None
        self._rested: Callable[[Child], None] | None = None
        self._rest = Deadline(self._never_at_rest)
        self._exited = False
        self._hung_up = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def usable(self) -> bool:
        """Whether it can take another job."""
        return not (self.leaving or self._exited or self._hung_up)

    def prepare(self, frame: bytes) -> None:
        """Send a job that is perhaps to be run."""
        assert self._transport is not None
        self._transport.write(frame)

    def drop(self, rested: Callable[[Child], None]) -> None:
        """Tell it that what was sent ahead is not to be run, and `rested` once it can take another job; kill it if it never can."""
        self._rested = rested
        self.prepare(frames.frame(frames.DROP, b""))
        self._rest.set(_DROP_WITHIN)

    def begin(self, job: Job, frame: bytes) -> None:
        """Send the job, or that the one which was prepared is to be run; `ended` follows."""
        assert self._transport is not None
        self.job, self.used_secrets, self._failure = job, bool(job.keychain), None
        self._outcome = self._loop.create_future()
        if self._exited or self._hung_up:
            self._conclude()
        else:
            self._transport.write(frame)
            written = job.tool.config.get("timeout")
            limit = (isinstance(written, (int, float, str)) and seconds(written)) or job.timeout
            self._limit(limit if job.most is None else min(limit, job.most))

    async def ended(self) -> Outcome:
        """Return the outcome of the job that was begun."""
        assert self._outcome is not None
        try:
            return await self._outcome
        except asyncio.CancelledError:
            self.stop("killed", "was cancelled")
            raise
        finally:
            self.job = self._outcome = None
            self._deadline.lift()

    def stop(self, kind: str, what: str, hint: str = "") -> None:
        """Kill it; the outcome of its job will say why."""
        if self._failure is None and self.job is not None:
            self._failure = Failed(NoetlError(f"step {self.job.step} {what}", hint, code=kind).as_error())
        self.leaving = True
        self._kill(self)
        self._loop.call_later(_END_WITHIN, self._give_up)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        at_once(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take in frames; nonsense ends the process."""
        try:
            for kind, payload in self._decoder.feed(data):
                self._receive(kind, payload)
        except (ValueError, KeyError, IndexError, TypeError, struct.error):
            self.stop("process_exit", "wrote nonsense into the connection to its worker")

    def connection_lost(self, exc: Exception | None) -> None:
        """A process that hangs up is of no more use."""
        self._hung_up = True
        self._kill(self)
        self._conclude()

    def exited(self, status: int | None) -> None:
        """Hear that the process and all its descendants are gone; what it wrote before may still be on its way."""
        self._exited, self._status = True, status
        self._conclude()
        self._loop.call_later(1.0, self._give_up)

    def close(self) -> None:
        """Hang up."""
        self._deadline.close()
        self._rest.close()
        if self._transport is not None:
            self._transport.abort()

    def _receive(self, kind: int, payload: bytes) -> None:
        if kind == frames.DONE:
            self._resolve(Done(payload))
        elif kind == frames.STORED:
            if self.job is not None:
                self._resolve(Large(self._result_file(self.job.key), int(payload)))
        elif kind == frames.FAILED:
            error, result = frames.read_failed(payload)
            self._resolve(Failed(orjson.loads(error), result))
        elif kind == frames.OUTPUT:
            if self.job is not None:
                log_output(self.job, payload.decode("utf-8", "replace"))
        elif kind == frames.FETCH:
            if self.job is not None:
                wanted, name = orjson.loads(payload)
                task = self._loop.create_task(self._answer(self.job, str(wanted), str(name)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif kind == frames.LIMIT:
            self._limit(float(orjson.loads(payload)))
        elif kind == frames.LEAVING:
            self.leaving = True
        elif kind == frames.DROPPED:
            self._rest.lift()
            rested, self._rested = self._rested, None
            if rested is not None and self.usable:
                rested(self)
        else:
            raise ValueError(f"a frame of kind {kind}")

    def _limit(self, limit: float) -> None:
        """End the job after this many seconds from now."""
        if self.job is None:
            return
        kind = (KINDS if self.job.sink is None else SINKS).get(self.job.tool.kind)
        grace = _GRACE if kind is not None and kind.limits_itself else 0.0
        self._bound = limit
        self._deadline.set(limit + grace)

    def _never_at_rest(self) -> None:
        if self.usable:
            self.stop("killed", "was killed")

    def _too_long(self) -> None:
        self.stop("timeout", f"ran longer than {self._bound:g} s", TOO_LONG)

    async def _answer(self, job: Job, kind: str, name: str) -> None:
        self.used_secrets = self.used_secrets or kind == "credential"
        answer: dict[str, Any]
        try:
            found = await self._fetch(job, kind, name)
            answer = {"file": str(found)} if isinstance(found, Path) else {"value": found}
        except NoetlError as error:
            answer = {"error": error.as_json()}
        except Exception as error:
            _log.exception("step %s: fetching %s %r failed", job.step, kind, name)
            answer = {"error": {"code": "unavailable", "message": f"{kind} {name!r} cannot be fetched: {type(error).__name__}"}}
        if self.job is job and self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.frame(frames.ANSWER, orjson.dumps(answer)))

    def _resolve(self, outcome: Outcome) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(self._failure or outcome)

    def _conclude(self) -> None:
        """Once it is gone and has said all: a job without an outcome failed by that."""
        if self._exited and (self._hung_up or self._transport is None):
            self._give_up()

    def _give_up(self) -> None:
        if not self._exited and self.pid:
            # Whoever forked it does not answer, perhaps because it is stopped: it is killed without its help.
            process_tree.kill_tree(self.pid)
        self._hung_up = True
        self.close()
        if self.job is not None:
            message = f"step {self.job.step}: its process {describe(self._status)}"
            hint = "see in the worker's log what it printed last: noetl worker logs"
            self._resolve(Failed({"type": "process_exit", "message": message, "hint": hint}))


def log_output(job: Job, text: str) -> None:
    """Log what a step printed."""
    _log.info("step %s printed: %s", job.step, text.rstrip("\n"), extra={"execution_id": job.key[0], "step": job.step})
