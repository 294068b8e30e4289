"""procrastinate: a step is a task, which defers the next one; an item of a loop is a task."""

from __future__ import annotations

import asyncio
import os

import procrastinate

from benchmarks.peers.programs import lines

CONCURRENCY, POLLING = 16, 0.05
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get("BENCH_POSTGRES", ""), min_size=4, max_size=20))
ended: asyncio.Queue[None] = asyncio.Queue()


@app.task(name="step")
async def step(left: int) -> None:
    """Do nothing, then defer the step that follows."""
    if left > 1:
        await step.defer_async(left=left - 1)
    else:
        ended.put_nowait(None)


async def all_ended(count: int) -> None:
    """Wait until so many last tasks ran, then until every job is recorded as finished."""
    for _ in range(count):
        await ended.get()
    open_jobs = "SELECT count(*) AS count FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    while (await app.connector.execute_query_one_async(open_jobs))["count"]:
        await asyncio.sleep(0.002)


async def chain(steps: int) -> None:
    """Run steps one after another."""
    await step.defer_async(left=steps)
    await all_ended(1)


async def loop(items: int) -> None:
    """Defer the items in one batch and wait for all of them."""
    await step.batch_defer_async(*[{"left": 1} for _ in range(items)])
    await all_ended(items)


async def many(executions: int) -> None:
    """Defer the first steps of executions of three, one statement each, and wait for all of them."""
    await asyncio.gather(*(step.defer_async(left=3) for _ in range(executions)))
    await all_ended(executions)


async def main() -> None:
    """Run a worker and take work."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=CONCURRENCY, fetch_job_polling_interval=POLLING, install_signal_handlers=False)
        )
        await asyncio.sleep(1)
        await lines.serve({"chain": chain, "loop": loop, "many": many})
        worker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
