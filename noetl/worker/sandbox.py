"""Runs each tool call in a child process: warm ones, so that it costs little, and ones whose end takes everything with it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from noetl.errors import Unavailable
from noetl.playbook.own_file import uses_own_file
from noetl.tools import leftovers
from noetl.worker import frames, zygote
from noetl.worker.child import Options
from noetl.worker.connection import Child, Fetch, log_output
from noetl.worker.job import Done, Failed, Job, Key, Outcome
from noetl.worker.supervisor import Supervisor, scrubbed
from noetl.worker.surroundings import OUTPUT_LIMIT

__all__ = ["Done", "Failed", "Fetch", "Job", "Key", "Outcome", "Sandbox"]

_MOST_IN_A_FRAME = 8 * 1024**2
_REMOVED_WITHIN = 30.0
_log = logging.getLogger(__name__)


class Sandbox:
    """A worker's child processes, at most `size` at a time, each with at most `memory` bytes of data.

    `workdir` is a folder of this worker's own; `environ` the environment to hand on, from which whatever configures noetl is taken out.
    `fetch(job, "credential", name)` and `fetch(job, "context", name)` answer what a tool asks for while it runs, or raise NotFound.
    """

    def __init__(
        self,
        *,
        size: int,
        memory: int,
        workdir: Path,
        environ: Mapping[str, str],
        fetch: Fetch,
        max_result: int = 256 * 1024**2,
    ) -> None:
        self._workdir = workdir.absolute()
        self._options = Options(memory=memory, workdir=str(self._workdir), max_result=max_result)
        self._environ = environ
        # Of this process alone: one that went before it, and was stopped, may still have its own open.
        self._file_name = f"{uuid.uuid4().hex[:12]}.duckdb"
        self._fetch = fetch
        self._slots = asyncio.Semaphore(size)
        self._numbers = itertools.count(1)
        self._children: dict[int, Child] = {}
        self._idle: list[Child] = []
        self._running: dict[Key, Child | None] = {}
        self._killed: set[Key] = set()
        self._prepared: dict[Key, Child] = {}
        self._supervisor: Supervisor | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Start the process that forks the children; Unavailable if that cannot be done."""
        await self._supervised()

    async def run(self, job: Job, until: float | None = None) -> Outcome:
        """Run one job and return its outcome; whatever the step does, this raises nothing.

        A job that begins later than `until` (by the monotonic clock, which the children share) asks `fetch(job, "lease", "")` first.
        """
        try:
            frame = None if job.key in self._prepared else self._frame(frames.JOB, job, until)
        except (TypeError, ValueError) as error:
            return Failed({"type": "internal", "message": f"step {job.step}: its command is no JSON: {error}"})
        self._running.setdefault(job.key, None)
        try:
            async with self._slots:
                return await self._run(job, frame, until)
        except (Unavailable, OSError) as error:
            return Failed({"type": "unavailable", "message": f"step {job.step}: no child process: {error}"})
        finally:
            self._running.pop(job.key, None)
            self._killed.discard(job.key)

    def prepare(self, job: Job) -> None:
        """Have a child that is there work out all that comes before the call of the tool; `run` or `drop` follows."""
        if self._closed or job.key in self._prepared:
            return
        while self._idle:
            child = self._idle.pop()
            if child.usable:
                with contextlib.suppress(TypeError, ValueError):
                    child.prepare(self._frame(frames.AHEAD, job, None))
                    self._prepared[job.key] = child
                    return
                self._idle.append(child)
                return

    def is_prepared(self, key: Key) -> bool:
        """Return whether a child has a job ready, so that `begin` begins it at once."""
        return (child := self._prepared.get(key)) is not None and child.usable

    def begin(self, job: Job, until: float | None) -> None:
        """Have a job that was prepared begin at once, if it was; `run` follows."""
        child = self._prepared.get(job.key)
        if child is not None and child.usable and child.job is None and not self._closed:
            self._running[job.key] = child
            child.begin(job, frames.frame(frames.GO, orjson.dumps(until)))

    def drop(self, key: Key) -> None:
        """Forget a job that was prepared and is not to be run. Unknown keys are ignored."""
        if (child := self._prepared.pop(key, None)) is not None and child.usable:
            child.drop(self._idle.append)

    def kill(self, key: Key) -> None:
        """Kill a job's whole process tree; `run` returns a failure of type `killed` once it is gone. Unknown keys are ignored."""
        if key in self._running:
            self._killed.add(key)
            child = self._running[key]
            if child is not None:
                child.stop("killed", "was killed")

    def forget(self, execution_id: str) -> None:
        """Remove the folder that an execution's steps share on this worker."""
        self._discard(_execution_folder(self._options.workdir, execution_id))

    def result_file(self, key: Key) -> str:
        """Return where a call leaves a result that is too large to travel with its report."""
        return f"{self._options.workdir}/results/{key[0]}-{key[1]}-{key[2]}.json"

    def own_file(self, job: Job) -> Path | None:
        """Return where a job that works on its execution's DuckDB file finds it; None for any other job."""
        if not uses_own_file(job.tool):
            return None
        return Path(_execution_folder(self._options.workdir, job.key[0])) / self._file_name

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that are there now."""
        pids = [child.pid for child in self._children.values() if child.pid]
        return [self._supervisor.pid, *pids] if self._supervisor else pids

    async def close(self) -> None:
        """Kill what runs and return when no process of the tree is left."""
        self._closed = True
        for key in list(self._running):
            self.kill(key)
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            await supervisor.close()
        for child in list(self._children.values()):
            self._exited(child.number, signal.SIGKILL)
            child.close()
        # Connections that were hung up are closed by the event loop, a few turns later.
        await asyncio.sleep(0.01)

    async def _run(self, job: Job, frame: bytes | None, until: float | None) -> Outcome:
        if job.key not in self._killed:
            self.begin(job, until)
        child = self._prepared.pop(job.key, None)
        if child is None or child.job is None:
            if child is not None and child.usable:
                child.drop(self._idle.append)
                return _killed(job)
            child = await self._child()
            if job.key in self._killed or self._closed:
                self._idle.append(child)
                return _killed(job)
            self._running[job.key] = child
            child.begin(job, frame or self._frame(frames.JOB, job, until))
        outcome = await child.ended()
        if child.usable:
            self._idle.append(child)
        else:
            await asyncio.to_thread(self._clear_away, child, job)
        return outcome

    def _frame(self, kind: int, job: Job, until: float | None) -> bytes:
        return frames.frame(kind, _message(job, self._options.workdir, self.result_file(job.key), self.own_file(job), until))

    async def _child(self) -> Child:
        """Return the child that worked last, or a new one."""
        while self._idle:
            child = self._idle.pop()
            if child.usable:
                return child
        supervisor = await self._supervised()
        ours, theirs = socket.socketpair()
        child = Child(next(self._numbers), self._fetch, self._kill, self.result_file, _MOST_IN_A_FRAME)
        self._children[child.number] = child
        with theirs:
            forks = supervisor.fork(child.number, theirs)
        if not forks:
            ours.close()
            return await self._child()
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
        return child

    async def _supervised(self) -> Supervisor:
        async with self._starting:
            if self._closed:
                raise Unavailable("the worker is closing")
            if self._supervisor is None:
                await asyncio.to_thread(self._workdir.mkdir, mode=0o700, parents=True, exist_ok=True)
                supervisor = Supervisor(self._options, self._environ, self._forked, self._exited, self._lost)
                await supervisor.start()
                self._supervisor = supervisor
            return self._supervisor

    def _kill(self, child: Child) -> None:
        if self._supervisor is not None:
            self._supervisor.kill(child.number)

    def _forked(self, number: int, pid: int) -> None:
        if child := self._children.get(number):
            child.pid = pid

    def _exited(self, number: int, status: int | None) -> None:
        child = self._children.pop(number, None)
        if child is not None:
            child.exited(status)

    def _lost(self) -> None:
        _log.error("the process that forks this worker's children is gone; another one takes its place")
        self._supervisor = None
        for child in list(self._children.values()):
            if child.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
            self._exited(child.number, signal.SIGKILL)
            child.close()

    def _clear_away(self, child: Child, job: Job) -> None:
        """Log the end of what a process that died printed, unless it knew secrets; remove its files and what it has left elsewhere."""
        if left := leftovers.notes([Path(_call_folder(self._options.workdir, job.key))]):
            self._remove(left)
        shutil.rmtree(_call_folder(self._options.workdir, job.key), ignore_errors=True)
        if self._supervisor is None:
            return
        path = zygote.output_file(self._options.workdir, self._supervisor.pid, child.number)
        with contextlib.suppress(OSError):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - OUTPUT_LIMIT))
                text = file.read(OUTPUT_LIMIT)
            path.unlink()
            if text and not child.used_secrets:
                log_output(job, text.decode("utf-8", "replace"))

    def _remove(self, left: list[str]) -> None:
        process = leftovers.removing(left, scrubbed(self._environ))
        try:
            if process.wait(_REMOVED_WITHIN):
                _log.error("what a step has left outside could not be removed: %s", ", ".join(left))
        except subprocess.TimeoutExpired:
            _log.warning("what a step has left outside is not removed yet: %s", ", ".join(left))

    def _discard(self, folder: str) -> None:
        asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, folder, True)


def _killed(job: Job) -> Failed:
    return Failed({"type": "killed", "message": f"step {job.step} was killed"})


def _message(job: Job, workdir: str, result_file: str, own_file: Path | None, until: float | None) -> bytes:
    """Return the job as its child reads it."""
    document = {
        "execution_id": job.key[0],
        "step": job.step,
        "kind": job.tool.kind,
        "config": job.tool.config,
        "tool_args": job.tool.args,
        "step_args": job.step_args,
        "run_args": job.run_args,
        "scope": job.scope,
        "envelopes": job.envelopes,
        "timeout": job.timeout,
        "most": job.most,
        "idempotency_key": job.idempotency_key,
        "names": job.names,
        "partial": job.partial,
        "overrides": job.overrides,
        "keychain": job.keychain,
        "sink": job.sink,
        "stored": job.stored,
        "result_file": result_file,
        "until": until,
        "workdir": _call_folder(workdir, job.key),
        "own_file": None if own_file is None else str(own_file),
    }
    try:
        return orjson.dumps(document, _as_dict)
    except TypeError:
        # An integer beyond 64 bits, as a rule.
        return json.dumps(document, ensure_ascii=False, default=_as_dict).encode()


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")


def _call_folder(workdir: str, key: Key) -> str:
    return f"{workdir}/calls/{key[0]}-{key[1]}-{key[2]}"


def _execution_folder(workdir: str, execution_id: str) -> str:
    return f"{workdir}/executions/{execution_id}"
