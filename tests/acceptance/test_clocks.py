"""Machines whose clocks are an hour off do the same at the same moments: the time that counts is PostgreSQL's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from live import Live
from stories import python

MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
HOUR = 3600
FAILS = "def main():\n    raise ValueError('not yet')"


def off(folder: Path, seconds: int) -> dict[str, str]:
    """Return the environment of a process whose clock is that many seconds ahead."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import time\nreal = time.time\ntime.time = lambda: real() + {seconds}\n")
    return {"PYTHONPATH": str(folder)}


def retried(delay: float, attempts: int) -> tuple[str, str, dict[str, object]]:
    """Return a step that fails and is made again."""
    return ("start", FAILS, {"retry": {"max_attempts": attempts, "delay": delay}})


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_server_whose_clock_is_off(make_live: MakeLive, tmp_path: Path, ahead: int) -> None:
    with make_live() as one:
        one.server(off(tmp_path / "clock", ahead))
        one.worker()
        soon = one.execute(python("soon", retried(0.1, 2)))
        assert one.finish(soon)["status"] == "FAILED"
        assert one.steps(soon)[0]["attempts"] == 2
        later = one.execute(python("later", retried(HOUR / 2, 2)))
        one.until(lambda: one.events(later, "call.error"), "it has failed once")
        (row,) = one.sql(
            "SELECT available_at > now() AND available_at < now() + interval '40 minutes' AS due FROM noetl.command "
            "WHERE execution_id = $1 AND attempt = 2",
            int(later),
        )
        assert row["due"]
        apart = "SELECT max(abs(extract(epoch FROM start_time - now()))) AS seconds FROM noetl.execution"
        assert one.sql(apart)[0]["seconds"] < HOUR / 2


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_worker_whose_clock_is_off(make_live: MakeLive, tmp_path: Path, ahead: int) -> None:
    with make_live() as one:
        one.server()
        one.worker(more=off(tmp_path / "clock", ahead))
        execution = one.execute(python("ran", ("start", "result = 1"), ("end", "result = 2")))
        assert one.finish(execution)["status"] == "COMPLETED"
        assert [0 <= step["duration"] < HOUR / 2 for step in one.steps(execution)] == [True, True]
