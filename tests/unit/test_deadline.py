"""A limit that is moved all the time."""

from __future__ import annotations

import asyncio

from noetl.deadline import Deadline


class Counting(asyncio.SelectorEventLoop):
    """An event loop that counts the timers it is asked for."""

    timers = 0

    def call_at(self, when: float, callback: object, *args: object, context: object = None) -> asyncio.TimerHandle:
        """Count, and do it."""
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)  # type: ignore[arg-type]


def run(work: object) -> int:
    """Run a coroutine; return how many timers were made for it."""
    loop = Counting()
    try:
        loop.run_until_complete(work)  # type: ignore[arg-type]
        return loop.timers
    finally:
        loop.close()


def test_it_is_late_once_and_no_earlier_than_it_was_last_set_to() -> None:
    async def work() -> None:
        loop, late, over = asyncio.get_running_loop(), [], asyncio.Event()

        def call() -> None:
            late.append(loop.time())
            over.set()

        deadline = Deadline(call)
        deadline.set(0.01)
        wanted = loop.time() + 0.05
        deadline.set(0.05)
        await over.wait()
        await asyncio.sleep(0.02)
        assert len(late) == 1
        assert late[0] >= wanted - 0.002
        over.clear()
        deadline.set(0.01)
        await over.wait()
        assert len(late) == 2

    run(work())


def test_one_that_is_set_earlier_is_late_earlier() -> None:
    async def work() -> None:
        over = asyncio.Event()
        deadline = Deadline(over.set)
        deadline.set(3600)
        deadline.set(0.01)
        await asyncio.wait_for(over.wait(), 30)

    run(work())


def test_one_that_is_lifted_or_closed_is_never_late() -> None:
    async def work() -> None:
        late: list[int] = []
        lifted, closed = Deadline(lambda: late.append(1)), Deadline(lambda: late.append(2))
        lifted.set(0.01)
        lifted.lift()
        closed.set(0.01)
        closed.close()
        await asyncio.sleep(0.05)
        assert late == []

    run(work())


def test_setting_and_lifting_it_again_and_again_costs_one_timer() -> None:
    async def work() -> None:
        deadline = Deadline(lambda: None)
        for _ in range(1000):
            deadline.set(60)
            deadline.lift()

    assert run(work()) == 1
