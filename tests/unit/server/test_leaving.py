"""How long a server that is to stop serves on."""

from __future__ import annotations

from noetl.server.leaving import Leaving


class Clock:
    """A clock that stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def leaving(quiet: float, limit: float) -> tuple[Leaving, Clock]:
    clock = Clock()
    made = Leaving(quiet, limit, clock)
    made.begin()
    return made, clock


def test_nobody_comes() -> None:
    one, clock = leaving(5, 60)
    assert one.left() == 5
    clock.now += 4
    assert one.left() == 1
    clock.now += 1
    assert one.left() == 0


def test_whoever_comes_has_it_stay() -> None:
    one, clock = leaving(5, 60)
    for _ in range(5):
        clock.now += 4
        one.came()
        assert one.left() == 5
    clock.now += 5
    assert one.left() == 0


def test_not_past_the_limit_whoever_comes() -> None:
    one, clock = leaving(5, 60)
    clock.now += 58
    one.came()
    assert one.left() == 2
    clock.now += 2
    one.came()
    assert one.left() == 0


def test_a_limit_that_is_shorter_than_the_quiet_is_none() -> None:
    assert leaving(70, 60)[0].left() == 70


def test_without_anything_set_it_goes_at_once() -> None:
    assert leaving(0, 60)[0].left() == 0


def test_it_sets_out_once() -> None:
    one, clock = leaving(5, 60)
    clock.now += 3
    one.begin()
    assert one.left() == 2


def test_before_it_sets_out_nothing_runs() -> None:
    one = Leaving(5, 60)
    assert not one.begun and one.left() == 5
