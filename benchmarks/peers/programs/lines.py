"""Takes work as lines of standard input and answers each on standard output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping

Handlers = Mapping[str, Callable[[int], Awaitable[None]]]


async def serve(handlers: Handlers) -> None:
    """Say that work is taken, then do it a line at a time until the input ends."""
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answers.write("{}\n")
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        try:
            await handlers[asked["kind"]](asked["count"])
            answers.write("{}\n")
        except Exception as error:
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}) + "\n")
