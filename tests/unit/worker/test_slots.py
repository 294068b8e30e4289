"""How many commands a worker asks for."""

from __future__ import annotations

from noetl.worker.job import Done
from noetl.worker.slots import Finished, Slots


def test_what_is_to_be_reported_keeps_its_place_for_what_follows_from_it() -> None:
    """It is handed over in the answer: claimed, it would cost the database another commit, and others would find nothing."""
    slots = Slots(4)
    assert (slots.free, slots.room) == (4, 4)
    for number in range(3):
        key = ("1", number, 1)
        slots.reporting[key] = Finished(key, Done(b"1"), 0.0, 1)
    assert (slots.free, slots.room) == (4, 1)
    slots.promised = 2
    assert (slots.free, slots.room) == (2, 0)
