"""How long the call after a failed one waits."""

from __future__ import annotations

import pytest

from noetl.engine.retry import delay
from noetl.playbook.model import Retry


@pytest.mark.parametrize("attempt", [1, 2, 5, 100_000])
def test_jitter_takes_up_to_half_away_differently_for_each(attempt: int) -> None:
    full = delay(Retry(initial_delay=2.0, max_delay=20.0), attempt, "any")
    waits = [delay(Retry(initial_delay=2.0, max_delay=20.0, jitter=True), attempt, f"execution:1:{item}") for item in range(500)]
    assert full == min(2.0 * 2.0 ** min(attempt - 1, 10), 20.0)
    assert full / 2 < min(waits) < full * 0.55 and full * 0.95 < max(waits) <= full
    assert len(set(waits)) > 490
    assert waits == [delay(Retry(initial_delay=2.0, max_delay=20.0, jitter=True), attempt, f"execution:1:{item}") for item in range(500)]
