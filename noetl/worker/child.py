"""What runs in a child process: one job at a time, from the worker's socket and back to it."""

from __future__ import annotations

import asyncio
import datetime
import faulthandler
import functools
import inspect
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from noetl.engine.value import loads
from noetl.errors import NoetlError, NotFound
from noetl.playbook.arguments import parse_json_text
from noetl.playbook.duration import seconds
from noetl.playbook.expression import Problem, Templates
from noetl.tools import registry
from noetl.tools.base import Call, Json, ToolError
from noetl.worker import encoding, frames, sink
from noetl.worker.context import Context
from noetl.worker.keychain import Find, Keychain, finder, token_function
from noetl.worker.masking import Masks
from noetl.worker.preparation import Reading, rendered_args, rendered_config
from noetl.worker.surroundings import LOOP_THREADS, Output, Surroundings, confine, quiet_signals

_JOBS_OF_ONE_PROCESS = 1000
INLINE = 64 * 1024
"""Results up to this many bytes travel with their report; larger ones are sent ahead of it, in pieces."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a worker tells its children once: sizes in bytes, the folder for their files."""

    memory: int
    workdir: str
    max_result: int


def run(connection: socket.socket, options: Options, output_file: Path) -> None:
    """Serve jobs from the socket until the worker hangs up, or this process has seen enough."""
    quiet_signals()
    confine(options.memory)
    output = Output(output_file)
    faulthandler.enable(2)
    with connection:
        Child(frames.Channel(connection), options, output).serve()


class Dropped(BaseException):
    """A job that was sent ahead is not to be run."""


@functools.lru_cache(maxsize=1024)
def _templates(envelopes: tuple[str, ...]) -> Templates:
    return Templates(envelopes)


@functools.cache
def _tool(kind: str, is_sink: bool) -> tuple[Callable[[Call], None] | None, Callable[[Call], Json]]:
    return registry.load(kind, sink=is_sink)


class Child:
    """Runs jobs one after the other."""

    def __init__(self, channel: frames.Channel, options: Options, output: Output) -> None:
        self._channel = channel
        self._options = options
        self._output = output
        self._surroundings = Surroundings(output)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits = False

    def serve(self) -> None:
        """Answer each job with DONE or FAILED; say LEAVING ahead of the last one."""
        count = 0
        while True:
            message = self._channel.receive()
            if message is None:
                return
            secrets: set[str] = set()
            job = loads(message[1])
            self._waits = message[0] == frames.AHEAD
            try:
                answer, stay = self._perform(job, secrets)
                self._go(job)
            except Dropped:
                self._channel.send(frames.frame(frames.DROPPED, b""))
                continue
            count += 1
            self._surroundings.leave_copies()
            stay = self._surroundings.fit() and stay and count < _JOBS_OF_ONE_PROCESS
            if os.path.lexists(job["workdir"]):
                shutil.rmtree(job["workdir"], ignore_errors=True)
            if text := self._output.take():
                answer = frames.frame(frames.OUTPUT, Masks(secrets).text(text).encode("utf-8", "replace")) + answer
            self._channel.send(answer if stay else frames.frame(frames.LEAVING, b"") + answer)
            if not stay:
                return
            # Whoever waits for the answer need not wait for this.
            self._surroundings.restore()

    def _perform(self, job: dict[str, Any], secrets: set[str]) -> tuple[bytes, bool]:
        """Return the frame of the outcome, and whether this process is as good as before."""
        stay = True
        try:
            result, failure = self._run(job, secrets)
        except MemoryError:
            limit = f"{self._options.memory / 1024**2:.0f} MiB"
            hint = "let it do less at a time, or raise NOETL_STEP_MEMORY of the worker"
            failure = ToolError(f"the step needed more memory than the {limit} that it may have", hint, type="memory")
            result, stay = None, False
        if failure is None:
            return _answer(job, result or b"null"), stay
        kept = result if result is not None and len(result) <= INLINE else None
        return frames.frame(frames.FAILED, frames.failed(_error_json(failure, secrets), kept)), stay

    def _go(self, job: dict[str, Any]) -> None:
        """Wait until a job that was sent ahead is to be run; ask for the lease of one that comes late. Raise Dropped if it is not to be."""
        if not self._waits:
            return
        message = self._channel.receive()
        if message is None:
            os._exit(0)
        self._waits = False
        if message[0] != frames.GO:
            raise Dropped
        job["until"] = loads(message[1])
        self._leased(job)

    def _leased(self, job: dict[str, Any]) -> None:
        """Ask for the lease, as long as the moment has passed until which the job may begin on the last word on it."""
        while job["until"] is not None and time.monotonic() > job["until"]:
            job["until"] = self._fetch(job, "lease", "")

    def _run(self, job: dict[str, Any], secrets: set[str]) -> tuple[bytes | None, ToolError | None]:
        """Return the result's JSON text and the failure; either may be None, a failure may come with a result."""
        try:
            value = self._call(job, secrets)
            failure = _reported(value) if job["sink"] is None or job["kind"] == "python" else None
        except ToolError as error:
            value, failure = error.result, error
        except NoetlError as error:
            value, failure = None, ToolError(error.message, error.hint, type=error.code)
        except (MemoryError, Dropped):
            raise
        except BaseException as error:
            value, failure = None, ToolError(f"{type(error).__name__}: {error}", type=type(error).__name__)
        if failure is not None and value is None:
            return None, failure
        try:
            text = encoding.encode(value, self._options.max_result)
        except ToolError as error:
            return None, failure or error
        return (Masks(secrets).json(text) if secrets and not _gives_secrets(job) else text), failure

    def _call(self, job: dict[str, Any], secrets: set[str]) -> Json:
        self._leased(job)
        for path, file in job["stored"]:
            _place(job, path, file)
        is_sink = job["sink"] is not None
        kind = registry.find(job["kind"], sink=is_sink)
        templates = _templates(tuple(job["envelopes"]))
        fetch = functools.partial(self._fetch, job)
        find = finder(fetch, secrets)
        scope: dict[str, Any] = job["scope"]
        functions = {"now": _now} if "token" in scope else {"now": _now, "token": token_function(find)}
        if isinstance(scope.get("error"), dict):
            scope["error"] = Problem(scope["error"])
        if job["keychain"]:
            scope["keychain"] = Keychain(job["keychain"], templates, {**scope, **functions}, find, secrets)
        args = rendered_args(job, templates, {**scope, **functions})
        scope = {**scope, **args, "args": args}
        if is_sink:
            scope |= sink.names(job["sink"], {**scope, **functions}, templates)
        fetched = self._fetched(job)
        seen = {**functions, **scope, "now": _now}
        reading = Reading(find, secrets, Context(seen, fetched, job["names"], job["partial"]), code_optional=is_sink)
        config = rendered_config(job, kind, templates, seen, reading)
        if job["kind"] == "python":
            args = {name: parse_json_text(value) for name, value in args.items()}
        context = Context(scope, fetched, job["names"], job["partial"])
        call = self._as_call(job, kind, config, args, context, find, secrets)
        ready, tool = _tool(job["kind"], is_sink)
        if ready is not None:
            ready(call)
        self._go(job)
        # What comes before a call may take long, or this process may have been stopped.
        self._leased(job)
        result = tool(call)
        return self._event_loop().run_until_complete(result) if inspect.iscoroutine(result) else result

    def _as_call(
        self,
        job: dict[str, Any],
        kind: registry.Kind,
        config: dict[str, Json],
        args: dict[str, Json],
        context: Context,
        find: Find,
        secrets: set[str],
    ) -> Call:
        inline = kind.language == "python" and "code" in job["config"] and not job["config"].get("script")

        def value_of(name: str) -> Json:
            if inline and name not in context.known:
                raise KeyError(name)
            return context[name]

        return Call(
            kind=job["kind"],
            config=config,
            args=args,
            scope=context,
            execution_id=job["execution_id"],
            step=job["step"],
            idempotency_key=job["idempotency_key"],
            timeout=self._timeout(job, config),
            call_folder=job["workdir"],
            own_file=Path(job["own_file"]) if job["own_file"] else None,
            credential=find,
            context=value_of,
            secrets=secrets,
            data=context.get("data") if job["sink"] is not None else None,
            has_data=job["sink"] is not None and job["sink"]["has_data"],
        )

    def _timeout(self, job: dict[str, Any], config: Mapping[str, Json]) -> float:
        """Return the step's time limit, and tell the worker where only rendering has revealed it."""
        written = config.get("timeout")
        if written in (None, ""):
            return float(job["timeout"])
        limit = seconds(written)
        if limit is None:
            raise ToolError(f"timeout is {written!r}; write seconds, or a text such as 30s or 5m", type="config")
        if job["most"] is not None:
            limit = min(limit, job["most"])
        if written != job["config"]["timeout"]:
            self._go(job)
            self._channel.send(frames.frame(frames.LIMIT, orjson.dumps(limit)))
        return limit

    def _fetch(self, job: dict[str, Any], kind: str, name: str) -> Json:
        """Ask the worker for something, and wait; not ahead of the lease."""
        self._go(job)
        self._channel.send(frames.frame(frames.FETCH, orjson.dumps([kind, name])))
        message = self._channel.receive()
        if message is None:
            os._exit(0)
        answer = orjson.loads(message[1])
        error = answer.get("error")
        if error is None:
            return _read(answer["file"]) if "file" in answer else answer["value"]
        if error["code"] == NotFound.code:
            raise NotFound(error["message"], error.get("hint", ""))
        raise NoetlError(error["message"], error.get("hint", ""), code=error["code"])

    def _fetched(self, job: dict[str, Any]) -> Callable[[str], Json]:
        """Return what fetches a name's value, once."""
        known: dict[str, Json] = {}

        def value(name: str) -> Json:
            if name not in known:
                known[name] = self._fetch(job, "context", name)
            return known[name]

        return value

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        """Return this process's event loop, which keeps connections open between jobs."""
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(ThreadPoolExecutor(4, thread_name_prefix=LOOP_THREADS))
        return self._loop


def _answer(job: Mapping[str, Any], result: bytes) -> bytes:
    """Return the frame of a result; a large one goes into a file."""
    if len(result) <= INLINE:
        return frames.frame(frames.DONE, result)
    path = Path(job["result_file"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(result)
    return frames.frame(frames.STORED, str(len(result)).encode())


def _place(job: dict[str, Any], path: list[str], file: str) -> None:
    """Put a value that came in a file where it belongs in the job."""
    where = job
    for name in path[:-1]:
        where = where[name]
    where[path[-1]] = loads(Path(file).read_bytes())


def _read(file: str) -> Json:
    """Read a value from a file and remove the file."""
    text = Path(file).read_bytes()
    Path(file).unlink()
    return loads(text)


def _gives_secrets(job: dict[str, Any]) -> bool:
    kind = registry.KINDS.get(job["kind"])
    return kind is not None and kind.gives_secrets and job["sink"] is None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _reported(value: Json) -> ToolError | None:
    """Return the failure that a result itself reports: a mapping whose `status` is `error`."""
    if not isinstance(value, Mapping) or value.get("status") != "error":
        return None
    reason, hint = value.get("error") or value.get("message") or "the result says status: error", value.get("hint")
    if isinstance(reason, Mapping):
        reason, hint = reason.get("message") or reason, reason.get("hint") or hint
    return ToolError(str(reason), hint if isinstance(hint, str) else "", type="reported", result=value)


def _error_json(failure: ToolError, secrets: set[str]) -> bytes:
    masks = Masks(secrets)
    error = failure.as_error()
    if "traceback" in failure.details:
        error["traceback"] = failure.details["traceback"]
    body = error.pop("data", None)
    told = {name: masks.error(encoding.clean(value)) if isinstance(value, str) else value for name, value in error.items()}
    return orjson.dumps(told if body is None else {**told, "data": masks.value(_cleaned(body))})


def _cleaned(value: Json) -> Json:
    """Return a value whose texts can be stored."""
    if isinstance(value, dict):
        return {encoding.clean(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return encoding.clean(value) if isinstance(value, str) else value
