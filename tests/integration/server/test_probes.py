"""What a cluster looks at: a worker's file, readiness while servers are replaced by newer ones, the figures that it scales by."""

from __future__ import annotations

import http.client
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from urllib.request import Request, urlopen

import pytest
from k8s_values import KEDA, rendered
from live import Live

from noetl.ops import ports

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waits, path: probes/waits}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
"""


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


def test_what_autoscaling_and_the_dashboard_ask_for_is_there(live: Live) -> None:
    request = Request(f"{live.a_server.url}/metrics", headers={"Authorization": f"Bearer {live.token.reveal()}"})
    with urlopen(request) as response:
        known = set(re.findall(r"# TYPE (\w+)", response.read().decode()))
    found = rendered("worker.autoscaling.enabled=true", "monitoring.dashboard=true")
    asked = {name for manifest in found for name in re.findall(r"noetl_(?:pool|executions|commands|commits|inputs|info)\w*", manifest.text)}
    assert asked
    assert asked <= known


def test_the_scaler_counts_what_waits_and_runs(own: Live) -> None:
    own.server()
    (scaled,) = [manifest.document for manifest in rendered(*KEDA) if manifest.kind == "ScaledObject"]
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    assert own.sql(query) == [{"count": 0}]
    execution_id = own.execute(PLAYBOOK)
    own.until(lambda: own.sql(query) == [{"count": 1}], "the command waits")
    own.api.post(f"/api/executions/{execution_id}/cancel", {})
    own.until(lambda: own.sql(query) == [{"count": 0}], "it waits no more")


def test_a_server_that_leaves_serves_on_and_ends_each_connection(own: Live) -> None:
    server = own.server({"NOETL_LEAVE_SECONDS": "600", "NOETL_LEAVE_LIMIT": "600"})
    own.worker("w1")
    host, _, port = server.url.removeprefix("http://").partition(":")
    kept = http.client.HTTPConnection(host, int(port), timeout=10)
    headers = {"Authorization": f"Bearer {own.token.reveal()}"}

    def ask(path: str = "/api/executions") -> tuple[int, str | None]:
        kept.request("GET", path, headers=headers)
        answer = kept.getresponse()
        answer.read()
        return answer.status, answer.getheader("connection")

    assert ask() == (200, None)
    server.send(signal.SIGTERM)
    own.until(lambda: not own.api.answers("/ready"), "it is not ready any more")
    assert ask() == (200, "close")
    assert ask() == (200, "close"), "on a new connection"
    assert own.run(PLAYBOOK)["status"] == "COMPLETED"
    server.send(signal.SIGTERM)
    own.until(lambda: not server.alive, "it has stopped, told twice")
    assert server.process.returncode == 0


def test_a_server_that_leaves_stops_when_nobody_comes(own: Live) -> None:
    server = own.server({"NOETL_LEAVE_SECONDS": "0.5"})
    server.send(signal.SIGTERM)
    own.until(lambda: not server.alive, "it has stopped")
    assert server.process.returncode == 0
    assert "nobody has come for 0.5 s" in server.said()
