"""What a cluster's probes look at: a worker's file, and readiness while servers are replaced by newer ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from live import Live

from noetl.ops import ports


@pytest.fixture
def own(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    """A platform of this test's own."""
    with make_live() as one:
        yield one


def test_a_workers_file_is_there_while_its_heart_beats(own: Live) -> None:
    own.server({"NOETL_LEASE_SECONDS": "3"})
    file = own.home / "worker-w1.alive"
    worker = own.worker("w1")
    own.until(file.exists, "the worker has been greeted")
    first = file.stat().st_mtime
    own.until(lambda: file.stat().st_mtime > first, "the heart beats")
    worker.send(signal.SIGTERM)
    own.until(lambda: not worker.alive, "the worker has ended")
    assert not file.exists()


def test_a_worker_without_a_server_takes_an_earlier_ones_file_away(own: Live) -> None:
    own.server()
    file = own.home / "worker-w2.alive"
    file.touch()
    nobody = {"NOETL_SERVER_URL": f"http://127.0.0.1:{ports.free()}"}
    own._start("worker-w2", ["noetl.worker", "--name", "w2"], nobody)
    own.until(lambda: not file.exists(), "the file is gone")


def test_a_server_stays_ready_when_the_schema_is_newer_than_itself(own: Live) -> None:
    own.server()
    own.sql("INSERT INTO noetl.migrations (name, checksum) VALUES ('9999_later', 'x')")
    assert own.api.answers("/ready")
    own.sql("DELETE FROM noetl.migrations")
    own.until(lambda: not own.api.answers("/ready"), "it is not ready on an older one")
