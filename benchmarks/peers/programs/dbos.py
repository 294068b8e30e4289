"""DBOS: a step is `@DBOS.step` in a `@DBOS.workflow`, an item of a loop a workflow on a queue."""

from __future__ import annotations

import asyncio
import os

from dbos import DBOS, DBOSConfig

from benchmarks.peers.programs import lines

QUEUE, POLLING = "items", 0.05


@DBOS.step()
def nothing() -> None:
    """Do nothing, as a step."""


@DBOS.workflow()
def chain(steps: int) -> None:
    """Run steps one after another."""
    for _ in range(steps):
        nothing()


@DBOS.workflow()
def item(number: int) -> None:
    """Do nothing, as an item of a loop; the workflow's result is what is recorded."""


@DBOS.workflow()
def loop(items: int) -> None:
    """Enqueue the items and wait for all of them."""
    handles = [DBOS.enqueue_workflow(QUEUE, item, number) for number in range(items)]
    for handle in handles:
        handle.get_result(polling_interval_sec=POLLING)


def many(executions: int) -> None:
    """Start workflows of three steps at once and wait for all of them."""
    handles = [DBOS.start_workflow(chain, 3) for _ in range(executions)]
    for handle in handles:
        handle.get_result(polling_interval_sec=POLLING)


async def main() -> None:
    """Launch DBOS and take work."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": os.environ["BENCH_POSTGRES"],
        "log_level": "WARNING",
        "enable_otlp": False,
    }
    DBOS(config=config)
    await asyncio.to_thread(DBOS.launch)
    await DBOS.register_queue_async(QUEUE, worker_concurrency=64, polling_interval_sec=POLLING)
    await lines.serve(
        {
            "chain": lambda count: asyncio.to_thread(chain, count),
            "loop": lambda count: asyncio.to_thread(loop, count),
            "many": lambda count: asyncio.to_thread(many, count),
        }
    )
    await asyncio.to_thread(DBOS.destroy)


if __name__ == "__main__":
    asyncio.run(main())
