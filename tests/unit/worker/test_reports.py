"""What becomes of a result that the server does not record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noetl.worker.ahead import Ahead
from noetl.worker.job import Done, Failed, Outcome
from noetl.worker.reports import Reports
from noetl.worker.slots import Finished, Slots

KEY = ("1", 2, 3)


class Answering:
    """A server that answers each report with the next of these words."""

    def __init__(self, *words: str) -> None:
        self.words = list(words)

    async def report(self, header: dict[str, Any], blobs: list[bytes], listener: Any) -> dict[str, Any]:
        """Answer."""
        return {"answers": [self.words.pop(0)], "commands": []}


async def take(commands: Any, asked: float) -> None:
    assert list(commands) == []


@pytest.mark.parametrize(
    ("word", "outcome", "left"),
    [
        ("recorded", Done(b"1"), None),
        ("stale", Done(b"1"), None),
        ("refused: unavailable", Done(b"1"), Done),
        ("refused: not_found", Done(b"1"), None),
        ("refused: internal", Done(b"1"), Failed),
        ("refused: internal", Failed({"type": "x"}, b"1"), Failed),
        ("refused: internal", Failed({"type": "x"}), None),
    ],
)
async def test_what_is_refused_for_good_is_no_endless_retry(word: str, outcome: Outcome, left: type | None) -> None:
    slots = Slots(1)
    slots.reporting[KEY] = Finished(KEY, outcome, 0.0, 1)
    ahead: Any = lambda: Ahead(None, None, slots, lambda: None)  # type: ignore[arg-type]  # noqa: E731
    reports = Reports(Answering(word), slots, worker_id="w", pool="default", take=take, ahead=ahead)  # type: ignore[arg-type]
    taken = await reports._send(list(slots.reporting.values()))
    assert taken is (word != "refused: unavailable")
    assert (type(slots.reporting[KEY].outcome) if KEY in slots.reporting else None) is left


class Broken(Answering):
    """A server whose first answer is no JSON."""

    async def report(self, header: dict[str, Any], blobs: list[bytes], listener: Any) -> dict[str, Any]:
        """Answer."""
        if len(self.words) > 1:
            raise ValueError(self.words.pop(0))
        return await super().report(header, blobs, listener)


async def test_what_is_left_when_reporting_stumbled_is_reported_when_it_goes_on() -> None:
    slots = Slots(1)
    slots.reporting[KEY] = Finished(KEY, Done(b"1"), 0.0, 1)
    ahead: Any = lambda: Ahead(None, None, slots, lambda: None)  # type: ignore[arg-type]  # noqa: E731
    reports = Reports(Broken("<html>", "recorded"), slots, worker_id="w", pool="default", take=take, ahead=ahead)  # type: ignore[arg-type]
    reports.due()
    with pytest.raises(ValueError, match="html"):
        await reports.run()
    again = asyncio.create_task(reports.run())
    for _ in range(20):
        await asyncio.sleep(0)
    again.cancel()
    assert slots.reporting == {}
