"""A warm child process for routing that is not plain: loops, calls, multiplication, large results. It has a limit of time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import struct
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from noetl.engine.advance import advance
from noetl.engine.inputs import Input
from noetl.engine.outcome import Outcome
from noetl.engine.plan import Plan
from noetl.engine.scope import Known
from noetl.engine.state import State
from noetl.errors import NoetlError
from noetl.playbook.expression import Templates
from noetl.playbook.model import Json

HEADER = struct.Struct("!I")
SECONDS = 10.0
MEMORY = 1024**3
OUT_OF_MEMORY = 3
"""What the child exits with when it goes past its limit of memory."""
KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ")
"""What the child sees of the server's environment: no secret, but where the code is."""


class Exceeded(NoetlError):
    """Templates that took more time or memory than routing may."""

    code = "template_limit"


class Evaluator:
    """Runs `advance` in a child; the child is replaced when it goes past a limit."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._sent: set[int] = set()

    async def advance(self, catalog_id: int, plan: Plan, state: State, given: Input, known: Known) -> Outcome:
        """Do what `noetl.engine.advance` does. Raises Exceeded, or what the engine raises."""
        async with self._lock:
            await self._child()
            playbook = None if catalog_id in self._sent else plan.playbook
            answer = await self._ask((catalog_id, playbook, state, given, known))
            self._sent.add(catalog_id)
        assert isinstance(answer, Outcome)
        return answer

    async def render(self, envelopes: Collection[str], value: Json, scope: Mapping[str, Json]) -> Json:
        """Render a value's templates. Raises Exceeded, or TemplateError."""
        async with self._lock:
            return await self._ask((frozenset(envelopes), value, dict(scope)))

    async def _ask(self, question: object) -> Any:
        process = await self._child()
        try:
            answer = await asyncio.wait_for(self._exchange(process, question), SECONDS)
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

    async def _exchange(self, process: asyncio.subprocess.Process, question: object) -> Any:
        assert process.stdin is not None and process.stdout is not None
        body = pickle.dumps(question, protocol=pickle.HIGHEST_PROTOCOL)
        process.stdin.write(HEADER.pack(len(body)) + body)
        await process.stdin.drain()
        (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
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
    catalog_id, playbook, state, given, known = question
    if playbook is not None:
        plans[catalog_id] = Plan(playbook)
    return advance(plans[catalog_id], state, given, known)


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
