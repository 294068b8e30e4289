"""Lengths of time as playbooks write them."""

import pytest

from noetl.playbook.duration import seconds


@pytest.mark.parametrize(
    ("written", "length"),
    [(30, 30), (0.5, 0.5), ("30", 30), ("30s", 30), ("5m", 300), ("1.5 h", 5400), ("2d", 172800), (" 250ms ", 0.25)],
)
def test_lengths(written: object, length: float) -> None:
    assert seconds(written) == length


@pytest.mark.parametrize(
    "written", [0, -1, True, None, "", "soon", "5 weeks", "-3s", "0s", [], {}, float("inf"), float("nan"), 10**400, "9" * 99]
)
def test_what_is_no_length(written: object) -> None:
    assert seconds(written) is None
