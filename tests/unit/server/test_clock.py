"""The time of the database, as a server knows it between two looks."""

from __future__ import annotations

import time

import pytest

from noetl.server.clock import Clock


def clock(monkeypatch: pytest.MonkeyPatch, monotonic: float) -> Clock:
    monkeypatch.setattr(time, "monotonic", lambda: monotonic)
    return Clock()


def test_an_answer_bounds_the_time_from_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    one = clock(monkeypatch, 100.0)
    one.told(5000.0, asked=90.0, heard=91.0)
    assert one() == 5010.0, "it was ahead: the latest that the answer allows"
    one.told(5000.5, asked=90.0, heard=91.0)
    assert one() == 5010.0, "what fits the answer stays"
    one.told(6000.0, asked=90.0, heard=90.5)
    assert one() == 6009.5, "the database's clock was set: the earliest that it allows"
    one.told(5999.0, asked=90.0, heard=90.5)
    assert one() == 6009.0
