"""A run of one contestant is not begun into what remains of another's."""

from __future__ import annotations

import pytest

from benchmarks import side_by_side


@pytest.mark.parametrize(
    ("busy", "looks"), [([1.0], 1), ([80.0, 30.0, 2.0], 3), ([80.0] * 100, 12)], ids=["calm", "soon calm", "never calm"]
)
async def test_a_run_waits_for_calm_but_not_for_ever(monkeypatch: pytest.MonkeyPatch, busy: list[float], looks: int) -> None:
    now, seen = [100.0], [0]

    def per_cent() -> float:
        seen[0] += 1
        return busy[seen[0] - 2] if seen[0] > 1 else 0.0

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(side_by_side.psutil, "cpu_percent", per_cent)
    monkeypatch.setattr(side_by_side.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(side_by_side.asyncio, "sleep", sleep)
    await side_by_side._calm()
    assert seen[0] - 1 == looks
