"""Prefect: a step is a task of a flow, an item of a loop a mapped task."""

from __future__ import annotations

import asyncio

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from benchmarks.peers.programs import lines

TOGETHER = 16


@task
async def nothing() -> None:
    """Do nothing, as a step."""


@task
def item(number: int) -> None:
    """Do nothing, as an item of a loop."""


@flow
async def chain(steps: int) -> None:
    """Run steps one after another."""
    for _ in range(steps):
        await nothing()


@flow(task_runner=ThreadPoolTaskRunner(max_workers=TOGETHER))
def loop(items: int) -> None:
    """Map the items and wait for all of them."""
    item.map(list(range(items))).wait()


async def many(executions: int) -> None:
    """Call flows of three steps, so many at a time."""
    places = asyncio.Semaphore(TOGETHER)

    async def one() -> None:
        async with places:
            await chain(3)

    await asyncio.gather(*(one() for _ in range(executions)))


async def main() -> None:
    """Take work."""
    await lines.serve({"chain": chain, "loop": lambda count: asyncio.to_thread(loop, count), "many": many})


if __name__ == "__main__":
    asyncio.run(main())
