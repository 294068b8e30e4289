"""How often workers are rung for what waits: enough of them to take it, and no message for each command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import pytest
from live import Live

from noetl.bus.jetstream import Bus, Rings

Json = Any
POOL = "rung"


def loop(items: int) -> str:
    """Return a playbook that issues so many commands as it begins."""
    return f"""\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: rings, path: tests/rings}}
workflow:
  - step: start
    pool: {POOL}
    loop: {{in: "{{{{ range({items}) | list }}}}", iterator: i, mode: parallel}}
    tool: {{kind: python, code: "result = i"}}
"""


@pytest.fixture
def alone(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    """A server without workers."""
    with make_live() as live:
        live.server()
        yield live


@asynccontextmanager
async def hearing(live: Live) -> Any:
    """Yield the rings of the pool, with those of other tests taken away."""
    bus = Bus(live.nats_url, "test")
    await bus.open()
    rings = await bus.rings(POOL)
    try:
        await rings.answered(await rings.take(100, 0.2))
        yield rings
    finally:
        await rings.close()
        await bus.close()


async def heard(rings: Rings, seconds: float = 1.0) -> int:
    """Return how many rings came; each is taken."""
    found = await rings.take(100, seconds)
    await rings.answered(found)
    return len(found) + (await heard(rings, 0.2) if found else 0)


@pytest.mark.parametrize(("items", "rings"), [(1, 1), (8, 1), (9, 2), (100, 13), (300, 32)])
def test_a_commit_rings_once_for_a_few_commands(alone: Live, items: int, rings: int) -> None:
    async def count() -> int:
        async with hearing(alone) as ringing:
            await asyncio.to_thread(alone.execute, loop(items))
            return await heard(ringing)

    assert asyncio.run(count()) == rings


def test_a_worker_that_is_given_all_it_has_room_for_has_another_one_rung(alone: Live) -> None:
    """So that commands reach as many workers as it takes, one after another; the last one of them rings nobody."""

    def claim(most: int) -> int:
        return len(alone.api.post("/api/worker/claim", {"worker_id": "w", "pool": POOL, "most": most})["commands"])

    async def count() -> list[tuple[int, int]]:
        found = []
        async with hearing(alone) as ringing:
            await asyncio.to_thread(alone.execute, loop(8))
            assert await heard(ringing) == 1
            for most in (3, 3, 3):
                found.append((await asyncio.to_thread(claim, most), await heard(ringing)))
        return found

    assert asyncio.run(count()) == [(3, 1), (3, 1), (2, 0)]


async def test_what_nats_says_late_of_an_earlier_wait_keeps_no_ring_from_a_worker(alone: Live) -> None:
    """A fetch that reads that a wait is over waits for all the rings that it may take, and not for the first: so did one in four here."""
    bus = Bus(alone.nats_url, "test")
    await bus.open()
    rings = await bus.rings("told_late")
    for number in range(40):
        await rings.answered(await rings.take(16, 0.01))
        taking = asyncio.ensure_future(rings.take(16, 60))
        await asyncio.sleep(0.01)
        await bus.ring([("told_late", 1, number)])
        done, _ = await asyncio.wait({taking}, timeout=20)
        assert done, f"the ring {number} is not heard"
        await rings.answered(taking.result())
    await rings.close()
    await bus.close()
