"""What workers ask: hello, claim, report, heartbeat, bye."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from noetl import __version__
from noetl.bus.subjects import POOL
from noetl.engine.value import Stored, Value, loads
from noetl.errors import NoetlError, NotFound, TooLarge, Unavailable, UsageError
from noetl.server.answers import answer, body_of, decoded, encoded, id_of, iso, number_of, raw_answer, runtime_of, sent, text_of
from noetl.server.chunks import place_of
from noetl.server.committer import DUPLICATE, RECORDED
from noetl.server.execution import issued_from_row
from noetl.server.gate import Asked
from noetl.server.listeners import wait
from noetl.server.pending import Handout, Report
from noetl.server.runtime import Runtime
from noetl.server.sweeper import MAX_LOST

Json = Any
router = APIRouter(prefix="/api", tags=["workers"])
HEARTBEAT = 5.0
LONGEST_POLL = 30.0
MOST = 1000


@router.post("/worker/hello")
async def hello(request: Request) -> Response:
    """Register a worker's process: `{worker_id, name, pool, host, pid, version, slots, replaces?}`. The answer tells where the rings are.

    `replaces` is the id of a process that is known to be gone: its leases end now.
    """
    runtime = runtime_of(request)
    document = await body_of(request)
    pool = text_of(document, "pool")
    if not POOL.fullmatch(pool):
        raise UsageError(f"pool {pool!r} is no name", "use up to 64 letters, digits, - and _")
    who = (text_of(document, "worker_id"), text_of(document, "name"), pool, text_of(document, "host"), int(number_of(document, "pid", 0)))
    await runtime.database.run("worker_hello", *who, str(document.get("version") or ""), int(number_of(document, "slots", 1)))
    if replaced := str(document.get("replaces") or ""):
        rows = await runtime.database.rows("requeue_worker", replaced, MAX_LOST - 1)
        await runtime.database.run("worker_bye", replaced)
        runtime.ring((row["pool"], row["execution_id"], row["command_id"]) for row in rows)
    return answer(
        {
            "nats_url": runtime.nats_url.reveal() if runtime.nats_url else None,
            "lease_seconds": runtime.settings.lease_seconds,
            "heartbeat_seconds": min(HEARTBEAT, runtime.settings.lease_seconds / 3),
            "max_result": runtime.settings.max_result,
            "version": __version__,
        }
    )


@router.post("/worker/claim")
async def claim(request: Request) -> Response:
    """Lease up to `most` of a pool's commands that wait longest, waiting up to `wait` seconds for one: `{worker_id, pool, most, wait?}`.

    With `park`, wait for so many seconds for one command that is yet to be issued; `waited` in the answer tells after how many it was.
    `park: 0` has such a request answered at once. `foretell` is that of a report.
    """
    return raw_answer(await claimed(runtime_of(request), Asked(await request.body())))


async def claimed(runtime: Runtime, asked: Asked) -> bytes:
    """Answer a claim."""
    document = decoded(asked.body)
    worker_id, pool = text_of(document, "worker_id"), text_of(document, "pool")
    if "park" in document:
        handout = Handout(worker_id, pool, 1, early=asked.early if asked.can_be_early and document.get("foretell") else None)
        return await _parked(runtime, handout, number_of(document, "park", 0), asked)
    most = max(1, min(int(number_of(document, "most", 1)), MOST))
    rows = await _claim(runtime, worker_id, pool, most, min(number_of(document, "wait", 0), LONGEST_POLL))
    return encoded({"commands": await _contents(runtime, rows)})


@router.post("/worker/report")
async def report(request: Request) -> Response:
    """Record results: a line of JSON, then the results' JSON texts one after another, as long as the line's `size` entries say.

    `{worker_id, pool, free, foretell?, held: [[execution, command, fence], …],
    reports: [{execution_id, command_id, fence, status, size, error?,
    attempt?, seconds?}]}`. The answer has a word for each report and the commands that are now leased to the worker.
    With `foretell`, the header `noetl-foretold` may come ahead of the answer, with commands that are likely to be leased:
    of those the answer only names what is, as [execution, command, fence].
    """
    return raw_answer(await reported(runtime_of(request), Asked(await request.body())))


async def reported(runtime: Runtime, asked: Asked) -> bytes:
    """Answer a report."""
    header, blobs = _split(asked.body)
    worker_id = text_of(header, "worker_id")
    handout = Handout(
        worker_id,
        text_of(header, "pool"),
        max(0, min(int(number_of(header, "free", 0)), MOST)),
        early=asked.early if asked.can_be_early and header.get("foretell") else None,
    )
    now = runtime.clock()
    pending = [_report(entry, blob, now, handout) for entry, blob in zip(header["reports"], blobs, strict=True)]
    for one, entry in zip(pending, header["reports"], strict=True):
        if entry.get("stored") and one.error is None:
            one.result = await runtime.loader.stored(one.execution_id, one.command, one.fence)
            if one.result is None or one.result.size != entry["stored"]:
                one.result, one.error = None, {"message": "the result was not stored whole", "type": "result"}
    prompt = Prompt(runtime, asked, handout, pending)
    for one in pending:
        runtime.committer.put(one)
    answers = [await _word_of(one) for one in pending]
    if prompt.answered:
        return b""
    commands = await _handed(runtime, handout)
    if DUPLICATE in answers and handout.free > 0:
        commands += await _leased(runtime, worker_id, header, handout)
    elif handout.free > 0 and handout.pool in runtime.waiting:
        commands += await _contents(runtime, await _claim_now(runtime, worker_id, handout.pool, handout.free))
    return encoded({"answers": answers, "commands": commands})


class Prompt:
    """Answers a report the moment that its commit is done, where there is nothing to be read for it."""

    def __init__(self, runtime: Runtime, asked: Asked, handout: Handout, reports: Sequence[Report]) -> None:
        self.answered = False
        self._runtime = runtime
        self._asked = asked
        self._handout = handout
        self._reports = reports
        if asked.can_be_early:
            handout.left, handout.prompt = len(reports), self._answer

    def _answer(self) -> None:
        handout = self._handout
        if handout.free > 0 and handout.pool in self._runtime.waiting:
            return
        commands = [handout.words(*key) for key in handout.commands]
        if None in commands:
            return
        self.answered = self._asked.now(encoded({"answers": [RECORDED] * len(self._reports), "commands": commands}))


@router.post("/worker/heartbeat")
async def heartbeat(request: Request) -> Response:
    """Extend the leases that a worker lists: `{worker_id, held: [[execution, command, fence], …], draining?, free?, pool?, begun?}`.

    In the answer `lost` names the leases that are no longer its own, `unsure` those of which that is being decided right now: nothing
    must begin under such a lease before it was asked for once more. `waiting` tells that commands of its pool wait;
    `unknown` asks it to say hello again. `begun` are leases of commands that lost a worker before, and begin now.
    """
    runtime, document = runtime_of(request), await body_of(request)
    try:
        return answer(await _heard(runtime, document))
    except Unavailable:
        runtime.sweeper.unheard()
        raise


async def _heard(runtime: Runtime, document: Mapping[str, Json]) -> dict[str, Json]:
    worker_id = text_of(document, "worker_id")
    ids, numbers, fences = _leases(document)
    held = list(zip(ids, numbers, fences, strict=True))
    status = "draining" if document.get("draining") else "ready"
    known = await runtime.database.row("heartbeat_worker", worker_id, len(held), status)
    if begun := document.get("begun"):
        await runtime.database.run("heartbeat_begun", worker_id, *_leases({"held": begun}))
    extended = await runtime.database.rows("heartbeat_extend", worker_id, ids, numbers, fences, runtime.lease) if held else []
    await runtime.database.run("heartbeat_unlisted", worker_id, ids, numbers, fences)
    alive = {(row["execution_id"], row["command_id"], row["fence"]) for row in extended}
    gone = [key for key in held if key not in alive]
    if gone:
        await runtime.database.run("heartbeat_not_lost", *[list(column) for column in zip(*gone, strict=True)])
    lost = [[str(eid), command, fence] for eid, command, fence in gone]
    unsure = [[str(row["execution_id"]), row["command_id"], row["fence"]] for row in extended if not row["extended"]]
    waiting = False
    if document.get("free") and document.get("pool"):
        row = await runtime.database.row("pool_waits", document["pool"])
        waiting = bool(row and row[0])
    return {"lost": lost, "unsure": unsure, "waiting": waiting, "unknown": known is None}


@router.post("/worker/return")
async def hand_back(request: Request) -> Response:
    """Give leases back that were not started: `{worker_id, held: [[execution, command, fence], …]}`."""
    runtime = runtime_of(request)
    document = await body_of(request)
    ids, numbers, fences = _leases(document)
    rows = await runtime.database.rows("hand_back", text_of(document, "worker_id"), ids, numbers, fences)
    runtime.ring((row["pool"], row["execution_id"], row["command_id"]) for row in rows)
    return answer({"returned": len(rows)})


@router.post("/worker/bye")
async def bye(request: Request) -> Response:
    """Tell that a worker's process ends: `{worker_id}`."""
    runtime = runtime_of(request)
    await runtime.database.run("worker_bye", text_of(await body_of(request), "worker_id"))
    return answer({"status": "success"})


@router.put("/worker/chunk/{execution_id}/{command_id}/{fence}/{number}")
async def chunk(request: Request, execution_id: str, command_id: int, fence: int, number: int) -> Response:
    """Keep one piece of a large result, a zlib stream, ahead of the report of a command that is leased under this fence."""
    await runtime_of(request).chunks.write(id_of(execution_id), command_id, fence, number, await request.body())
    return answer({"status": "success"})


@router.get("/worker/stored/{address:path}")
async def stored(request: Request, address: str) -> Response:
    """Send the JSON text of a value that is too large to travel with a command; the command says where it is."""
    return StreamingResponse(runtime_of(request).chunks.stream(Stored(place_of(address), 0)), media_type="application/json")


@router.get("/worker/context/{execution_id}/{name:path}")
async def context(request: Request, execution_id: str, name: str) -> Response:
    """Return the value of one name of an execution that did not travel with a command."""
    runtime = runtime_of(request)
    execution = await runtime.loader.execution(id_of(execution_id))
    value = await runtime.contents.name(execution, name)
    if value is None:
        raise NotFound(f"execution {execution_id} has no {name}", f"see: noetl execution status {execution_id}")
    return sent(runtime, value)


@router.get("/workers")
async def workers(request: Request) -> Response:
    """List the workers that said hello, those that went within the last hour too."""
    rows = await runtime_of(request).database.rows("workers")
    found = [{**dict(row), "started_at": iso(row["started_at"]), "last_seen": iso(row["last_seen"])} for row in rows]
    return answer({"workers": found})


@router.get("/pools")
async def pools(request: Request) -> Response:
    """List the pools: workers, slots, commands waiting and running."""
    rows = await runtime_of(request).database.rows("pools")
    return answer({"pools": [dict(row) for row in rows]})


async def _parked(runtime: Runtime, handout: Handout, seconds: float, asked: Asked) -> bytes:
    """Answer a worker that waits for a command that is yet to be issued, once it is leased to it; a worker that left meanwhile loses it."""
    if seconds <= 0:
        runtime.parked.leave(handout.pool, handout.worker_id)
        return encoded({"commands": [], "waited": 0})
    since = time.monotonic()
    there = await runtime.parked.wait(handout, min(seconds, LONGEST_POLL), asked.hung_up)
    commands = await _handed(runtime, handout)
    if handout.commands and not there:
        ids, numbers = [eid for eid, _ in handout.commands], [command for _, command in handout.commands]
        rows = await runtime.database.rows("hand_back", handout.worker_id, ids, numbers, [1] * len(ids))
        runtime.ring((row["pool"], row["execution_id"], row["command_id"]) for row in rows)
    return encoded({"commands": commands, "waited": max(0, handout.offered - since)})


async def _claim(runtime: Runtime, worker_id: str, pool: str, most: int, seconds: float) -> list[Any]:
    deadline = time.monotonic() + seconds
    async with runtime.listeners.watch("pool", pool) as rung:
        while True:
            rung.news.clear()
            rows = await _claim_now(runtime, worker_id, pool, most)
            if len(rows) == most:
                runtime.ring_on(pool)
            left = deadline - time.monotonic()
            if rows or left <= 0 or runtime.listeners.closed:
                return rows
            await wait(rung.news, min(left, 2.0))


async def _claim_now(runtime: Runtime, worker_id: str, pool: str, most: int) -> list[Any]:
    """Claim what waits; remember when nothing is left, so that reports need not ask."""
    runtime.waiting.discard(pool)
    rows = await runtime.database.rows("claim", pool, worker_id, runtime.lease, most)
    if len(rows) == most:
        runtime.waiting.add(pool)
    return rows


async def _contents(runtime: Runtime, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Json]]:
    found = []
    for row in rows:
        execution = await runtime.committer.execution(row["execution_id"], row["revision"])
        if row["command_id"] not in execution.commands:
            execution.commands[row["command_id"]] = issued_from_row(row, loads(row["input"]))
        try:
            content = await runtime.contents.command(execution, row["command_id"], row["fence"], row["attempt"])
            found.append({**content, "lost": row["lost"]} if row["lost"] else content)
        except TooLarge as error:
            _cannot_run(runtime, row["execution_id"], row["command_id"], row["fence"], error)
    return found


async def _handed(runtime: Runtime, handout: Handout) -> list[Json]:
    found: list[Json] = []
    for execution_id, command_id in handout.commands:
        try:
            if (words := handout.words(execution_id, command_id)) is not None:
                found.append(words)
                continue
            execution = await runtime.committer.execution(execution_id)
            if command_id not in execution.commands:
                await runtime.loader.command(execution, command_id)
            found.append((await runtime.contents.handed(execution, [command_id]))[command_id])
        except TooLarge as error:
            _cannot_run(runtime, execution_id, command_id, 1, error)
        except (NoetlError, KeyError):
            continue
    return found


def _cannot_run(runtime: Runtime, execution_id: int, command_id: int, fence: int, error: TooLarge) -> None:
    runtime.committer.report(execution_id, command_id, fence, None, error.as_error())


async def _leased(runtime: Runtime, worker_id: str, header: Mapping[str, Json], handout: Handout) -> list[dict[str, Json]]:
    """Return what an earlier answer, that was lost, has leased to the worker."""
    ids, numbers, fences = _leases(header)
    ids += [eid for eid, _ in handout.commands]
    numbers += [command for _, command in handout.commands]
    fences += [1] * len(handout.commands)
    return await _contents(runtime, await runtime.database.rows("leased_to", worker_id, ids, numbers, fences, handout.free))


def _split(body: bytes) -> tuple[dict[str, Json], list[bytes | None]]:
    line, _, rest = body.partition(b"\n")
    try:
        header = orjson.loads(line)
        reports = header["reports"]
        blobs: list[bytes | None] = []
        position = 0
        for entry in reports:
            size = entry.get("size")
            blobs.append(rest[position : position + size] if size else None)
            position += size or 0
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"this is no report: {error}", "see /docs") from None
    if position != len(rest):
        raise UsageError("the report's sizes are not those of its results", "see /docs")
    return header, blobs


def _report(entry: Mapping[str, Json], blob: bytes | None, now: float, handout: Handout) -> Report:
    result = Value(blob) if blob is not None else None
    error = _error(entry) if entry.get("status") == "failed" else None
    try:
        if blob is not None:
            blob.decode()
    except UnicodeDecodeError:
        result, error = None, error or {"message": "the result is no UTF-8", "type": "result"}
    try:
        return Report(
            execution_id=id_of(str(entry["execution_id"])),
            command=int(entry["command_id"]),
            fence=int(entry["fence"]),
            at=now,
            future=asyncio.get_running_loop().create_future(),
            result=result,
            error=error,
            attempt=int(number_of(entry, "attempt", 1)),
            started_at=now - max(0.0, min(number_of(entry, "seconds", 0), now)),
            handout=handout,
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise UsageError(f"this is no report: {problem!r}", "see /docs") from None


def _leases(document: Mapping[str, Json]) -> tuple[list[int], list[int], list[int]]:
    """Return the leases that a worker names, as columns."""
    held = document.get("held") or []
    try:
        return [id_of(str(eid)) for eid, _, _ in held], [int(command) for _, command, _ in held], [int(fence) for _, _, fence in held]
    except (TypeError, ValueError):
        raise UsageError("held is no list of leases", "send [[execution, command, fence], …]") from None


def _error(entry: Mapping[str, Json]) -> dict[str, Json]:
    error = entry.get("error")
    return error if isinstance(error, dict) and error else {"message": "the step failed", "type": "error"}


async def _word_of(report: Report) -> str:
    """Return what became of a report, once it is committed."""
    try:
        return await report.future
    except NoetlError as error:
        return f"refused: {error.code}"
    except Exception:
        return "refused: internal"
