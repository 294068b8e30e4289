"""Growth of a chain, from when its steps ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.scale import last_to_first

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_last_steps_are_compared_with_the_first() -> None:
    slower = [0, 1, 2, 3, 10, 13, 16]
    assert last_to_first([BEGUN + timedelta(seconds=at) for at in slower], 2) == pytest.approx(3.0)


def test_order_does_not_matter_and_a_steady_chain_does_not_grow() -> None:
    assert last_to_first([BEGUN + timedelta(seconds=at) for at in (4, 0, 3, 1, 2)], 2) == pytest.approx(1.0)


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="3 ends of steps"):
        last_to_first([BEGUN] * 3, 2)
