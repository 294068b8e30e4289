"""A warm child process for routing that is not plain: loops, calls, multiplication, large results. It has a limit of time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import struct
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

from noetl.engine.advance import advance
from noetl.engine.inputs import Input
from noetl.engine.outcome import Outcome
from noetl.engine.plan import Plan
from noetl.engine.scope import Known
from noetl.engine.state import State
from noetl.engine.value import Stored
from noetl.errors import NoetlError
from noetl.playbook.expression import Templates
from noetl.playbook.model import Json

HEADER = struct.Struct("!I")
SECONDS = 10.0
PACE = 5 * 1024**2
"""Bytes of stored results for which an evaluation has one second more: they are read from the database first."""
MEMORY = 1024**3
OUT_OF_MEMORY = 3
"""What the child exits with when it goes past its limit of memory."""
ANSWER = 64 * 1024**2
"""The most bytes that an input may lead to: what routing computes goes through the server's memory and into one commit."""
KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ")
"""What the child sees of the server's environment: no secret, but where the code is."""


class Exceeded(NoetlError):
    """Templates that took more time or memory than routing may."""

    code = "template_limit"


class TooMuch(Exception):
    """An answer larger than the server takes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Evaluator:
    """Runs `advance` in a child; the child is replaced when it goes past a limit."""

    def __init__(self, stream: Callable[[Stored], AsyncIterator[bytes]], limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._sent: set[int] = set()

    async def advance(
        self, catalog_id: int, plan: Plan, state: State, given: Input, known: Known, unread: Sequence[Stored] = ()
    ) -> Outcome:
        """Do what `noetl.engine.advance` does, with the text of `unread` values. Raises Exceeded, or what the engine raises."""
        size = sum(value.size for value in unread)
        if size > self._limit:
            raise Exceeded(
                f"the templates of this step's routing use results of {size / 1024**2:.1f} MiB, "
                f"and {self._limit / 1024**2:.1f} MiB is the most",
                "compute what they need in the step itself, or write the data to a table or a file and return where it is",
            )
        async with self._lock:
            await self._child()
            playbook = None if catalog_id in self._sent else plan.playbook
            answer = await self._ask((catalog_id, playbook, state, given, known, list(unread)), unread)
            self._sent.add(catalog_id)
        assert isinstance(answer, Outcome)
        return answer

    async def render(self, envelopes: Collection[str], value: Json, scope: Mapping[str, Json]) -> Json:
        """Render a value's templates. Raises Exceeded, or TemplateError."""
        async with self._lock:
            return await self._ask((frozenset(envelopes), value, dict(scope)))

    async def _ask(self, question: object, unread: Sequence[Stored] = ()) -> Any:
        process = await self._child()
        more = sum(value.size for value in unread) / PACE
        try:
            answer = await asyncio.wait_for(self._exchange(process, question, unread), SECONDS + more)
        except TooMuch as error:
            await self.close()
            raise Exceeded(
                f"the routing of this step gives {error.size / 1024**2:.1f} MiB of variables, args and items, "
                f"and {ANSWER // 1024**2} MiB is the most",
                "leave large data in a step's result, a table or a file, and pass what is needed of it",
            ) from None
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            code = None if isinstance(error, TimeoutError) else await _exit_code(process)
            await self.close()
            raise Exceeded(_excess(code), "compute such a value in a python step") from None
        except BaseException:
            await self.close()
            raise
        if isinstance(answer, NoetlError):
            raise answer
        return answer

    async def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        self._sent.clear()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _child(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._sent.clear()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "noetl.server.evaluator",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={name: os.environ[name] for name in KEPT if name in os.environ},
                limit=1 << 20,
            )
        return self._process

    async def _exchange(self, process: asyncio.subprocess.Process, question: object, unread: Sequence[Stored]) -> Any:
        assert process.stdin is not None and process.stdout is not None
        body = pickle.dumps(question, protocol=pickle.HIGHEST_PROTOCOL)
        process.stdin.write(HEADER.pack(len(body)) + body)
        await process.stdin.drain()
        for value in unread:
            async for piece in self._stream(value):
                if piece:
                    process.stdin.write(HEADER.pack(len(piece)) + piece)
                    await process.stdin.drain()
            process.stdin.write(HEADER.pack(0))
        await process.stdin.drain()
        (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
        if length > ANSWER:
            raise TooMuch(length)
        return pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - from our own child


async def _exit_code(process: asyncio.subprocess.Process) -> int:
    try:
        return await asyncio.wait_for(process.wait(), 1)
    except TimeoutError:
        return 0


def _excess(code: int | None) -> str:
    match code:
        case None:
            return f"the templates of this step's routing need more than {SECONDS:g} s"
        case _ if code == OUT_OF_MEMORY:
            return f"the templates of this step's routing need more than {MEMORY // 1024**2} MiB of memory"
        case _:
            return f"the process that evaluates the templates of this step's routing ended with exit code {code}"


def serve(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
    """Answer questions until there are no more: the child's side."""
    plans: dict[int, Plan] = {}
    while header := receive(HEADER.size):
        (length,) = HEADER.unpack(header)
        question = pickle.loads(receive(length))  # noqa: S301 - from our own parent
        try:
            _bring(question, receive)
            answer: Any = _evaluate(plans, question)
        except NoetlError as error:
            answer = error
        except MemoryError:
            raise SystemExit(OUT_OF_MEMORY) from None
        body = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
        send(HEADER.pack(len(body)) + body)


def _evaluate(plans: dict[int, Plan], question: Any) -> Any:
    if len(question) == 3:
        envelopes, value, scope = question
        return Templates(envelopes).render(value, scope)
    catalog_id, playbook, state, given, known, _ = question
    if playbook is not None:
        plans[catalog_id] = Plan(playbook)
    return advance(plans[catalog_id], state, given, known)


def _bring(question: Any, receive: Callable[[int], bytes]) -> None:
    """Read the texts of stored values, which come after the question that they belong to."""
    for value in question[-1] if len(question) != 3 else ():
        pieces = []
        while (length := HEADER.unpack(receive(HEADER.size))[0]) > 0:
            pieces.append(receive(length))
        value.fill(b"".join(pieces))


def main() -> None:
    """Run the child: limits first, then questions from standard input."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer

    def send(body: bytes) -> None:
        stdout.write(body)
        stdout.flush()

    try:
        serve(stdin.read, send)
    except MemoryError:
        raise SystemExit(OUT_OF_MEMORY) from None


if __name__ == "__main__":
    main()
