"""How a worker waits at its server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noetl.errors import Unavailable
from noetl.worker import claims as module
from noetl.worker.ahead import Ahead
from noetl.worker.claims import Claims
from noetl.worker.job import Done
from noetl.worker.slots import Finished, Slots


class Server:
    """Answers in turn; an exception is raised. After the last answer the worker drains."""

    def __init__(self, slots: Slots, *answers: Any) -> None:
        self.slots = slots
        self.answers = list(answers)
        self.promised: list[int] = []

    async def claim(self, question: dict[str, Any]) -> dict[str, Any]:
        return {"commands": [self.answers.pop()] if question["most"] and self.answers else []}

    async def park(self, question: dict[str, Any], listener: Any) -> dict[str, Any]:
        self.promised.append(self.slots.promised)
        assert question == {"worker_id": "w:1", "pool": "default", "park": module.PARK, "foretell": True}
        answer = self.answers.pop(0)
        self.slots.draining = not self.answers
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in no time."""
    made: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        made.append(seconds)
        await real(0)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return made


def claiming(slots: Slots, server: Server) -> tuple[Claims, list[Any]]:
    taken: list[Any] = []

    async def take(commands: Any, asked: float) -> None:
        taken.append(list(commands))

    ahead: Any = lambda: Ahead(None, None, slots, lambda: None)  # type: ignore[arg-type]  # noqa: E731
    claims = Claims(
        server,  # type: ignore[arg-type]
        slots,
        worker_id="w:1",
        pool="default",
        nats_url=None,
        take=take,
        cancelled=lambda _: None,
        ahead=ahead,
    )
    return claims, taken


async def parked(slots: Slots, *answers: Any) -> tuple[Server, list[Any]]:
    server = Server(slots, *answers)
    claims, taken = claiming(slots, server)
    async with asyncio.timeout(10):
        await claims.park()
    return server, taken


async def test_an_idle_worker_waits_with_one_slot_again_and_again(pauses: list[float]) -> None:
    slots = Slots(4)
    command = {"execution_id": "1", "command_id": 2, "fence": 1}
    server, taken = await parked(slots, {"commands": [], "waited": 0}, {"commands": [command], "waited": 1.5})
    assert (server.promised, taken, slots.promised, pauses) == ([1, 1], [[], [command]], 0, [])


async def test_a_server_that_is_away_or_knows_no_waiting_is_not_asked_all_the_time(pauses: list[float]) -> None:
    server, taken = await parked(Slots(4), Unavailable("gone"), {"commands": []})
    assert (server.promised, taken, pauses) == ([1, 1], [[]], [1, module.PARK])


async def test_a_worker_that_always_has_something_to_report_claims_all_the_same() -> None:
    """What begins anew would wait for as long as there are enough long chains: the answers to their reports fill the worker again."""
    slots = Slots(4)
    for number in range(4):
        key = ("1", number, 1)
        slots.reporting[key] = Finished(key, Done(b"1"), 0.0, 1)
    new = {"execution_id": "2", "command_id": 1, "fence": 1}
    claims, taken = claiming(slots, Server(slots, new))
    await claims._claim(0)
    assert taken == [[new]]
