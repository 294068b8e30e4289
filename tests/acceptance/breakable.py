"""Platforms of which tests break something, what their steps have done outside, and a worker that a test plays."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, Running, ask
from stories import python

from noetl import home as files
from noetl.ops import stack
from noetl.ops.client import Client
from noetl.settings import Postgres, Settings

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
LEASE = 2.0
SHORT_LEASE = {"NOETL_LEASE_SECONDS": str(LEASE)}
CHAIN = python("chain", ("start", "result = 1"), ("middle", "result = 2"), ("end", "result = 3"))


@pytest.fixture(scope="module")
def effects(outside: Postgres) -> Postgres:
    """The database in which effects are counted."""
    ask(outside, "CREATE TABLE IF NOT EXISTS effect (execution text NOT NULL, n integer NOT NULL)")
    return outside


def store_outside(live: Live, outside: Postgres) -> None:
    """Tell a server how playbooks reach the database of effects."""
    data = {"db_host": outside.host, "db_port": outside.port, "db_user": outside.user, "db_name": outside.database}
    live.api.post("/api/credentials", {"name": "outside", "type": "postgres", "data": {**data, "db_password": outside.password.reveal()}})


@pytest.fixture(scope="module")
def platform(request: pytest.FixtureRequest, make_live: MakeLive) -> Iterator[Live]:
    """A server and a worker of a module's own, with the settings in its PLATFORM, if it has any."""
    with make_live(getattr(request.module, "PLATFORM", None)) as one:
        one.server()
        one.worker()
        yield one


@pytest.fixture(scope="module")
def shared(make_live: MakeLive, effects: Postgres) -> Iterator[Live]:
    """A server with short leases, on the session's services; tests start the workers that they kill."""
    with make_live(SHORT_LEASE) as one:
        one.server()
        store_outside(one, effects)
        yield one


@pytest.fixture
def crew(shared: Live) -> Iterator[Live]:
    """The server, with no worker left over from another test."""
    yield shared
    for running in shared.processes:
        if not running.url and running.alive:
            running.kill()


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of services that are there to be killed."""
    home = tmp_path_factory.mktemp("own")
    try:
        yield home
    finally:
        stack.stop_all(Settings(home=home), force=True, timeout=5)


@pytest.fixture(scope="module")
def own(own_home: Path, effects: Postgres) -> Iterator[Live]:
    """A whole platform, its services included, of which anything may be killed."""
    stack.start(Settings(home=own_home))
    embedded = files.read_embedded(own_home)
    assert embedded.postgres is not None and embedded.nats_url is not None
    one = Live(own_home / "live", embedded.postgres, embedded.nats_url, effects, more=SHORT_LEASE)
    try:
        one.server({}, port=None)
        one.worker("w0")
        store_outside(one, effects)
        yield one
    finally:
        one.close()


@pytest.fixture
def whole(own: Live, own_home: Path) -> Iterator[Live]:
    """The whole platform; what a test killed is started again after it."""
    yield own
    stack.start(Settings(home=own_home))


@pytest.fixture(scope="module")
def idle(make_live: MakeLive) -> Iterator[Live]:
    """A server without any worker: a test plays one."""
    with make_live(SHORT_LEASE) as one:
        one.server()
        yield one


def effect_counts(effects: Postgres, execution_id: str) -> dict[int, int]:
    """Return how often each item had its effect."""
    return {
        row["n"]: row["times"]
        for row in ask(effects, "SELECT n, count(*) AS times FROM effect WHERE execution = $1 GROUP BY n", execution_id)
    }


def as_often_as_leased(live: Live, effects: Postgres, execution: str, items: int) -> None:
    """Check effects against leases: a machine that is too busy to extend a lease of two seconds leases again. The fence counts both."""
    query = "SELECT item, (fence + 1) / 2 AS leases FROM noetl.command WHERE execution_id = $1 AND step = 'each'"
    leases = {row["item"]: row["leases"] for row in live.sql(query, int(execution))}
    times = effect_counts(effects, execution)
    assert {n: (times.get(n), leases[n]) for n in range(items) if not 1 <= times.get(n, 0) <= leases[n]} == {}


def recorded_once(live: Live, execution_id: str, items: int) -> None:
    """Check that each item's result is recorded once."""
    done = [event for event in live.events(execution_id, "call.done") if event["node_name"] == "each"]
    assert sorted(event["context"]["item"] for event in done) == list(range(items))
    rows = live.sql("SELECT item, status FROM noetl.command WHERE execution_id = $1 AND step = 'each'", int(execution_id))
    assert sorted(row["item"] for row in rows) == list(range(items))
    assert {row["status"] for row in rows} == {"done"}


def is_running(live: Live, execution_id: str, step: str) -> str | None:
    """Return the worker that runs a step, None while nobody does."""
    found = [row for row in live.steps(execution_id) if row["step"] == step and row["state"] == "running"]
    return found[0]["worker"] if found else None


def began(file: Path) -> Callable[[], bool]:
    """Return whether a step has left its line."""
    return lambda: file.exists() and file.read_text() != ""


class Pretender:
    """A worker that a test plays over the API."""

    def __init__(self, live: Live, at: Running | None = None) -> None:
        self.live = live
        self.at = at or live.a_server
        self.api = Client(self.at.url, live.token)
        self.name = f"pretender:{time.monotonic_ns()}"
        who = {"worker_id": self.name, "name": "pretender", "pool": "default", "host": "here", "pid": 1, "version": "0", "slots": 4}
        self.api.post("/api/worker/hello", who)

    def claim(self, execution_id: str) -> dict[str, Json]:
        """Claim the command of an execution."""
        question = {"worker_id": self.name, "pool": "default", "most": 1, "wait": 5}
        (command,) = self.api.post("/api/worker/claim", question)["commands"]
        assert command["execution_id"] == execution_id
        found: dict[str, Json] = command
        return found

    def beat(self, **more: Json) -> dict[str, Json]:
        """Send a heartbeat."""
        found: dict[str, Json] = self.api.post("/api/worker/heartbeat", {"worker_id": self.name, "held": [], **more})
        return found

    def report(self, command: dict[str, Json], result: bytes | None, *, free: int = 4, **more: Json) -> tuple[int, dict[str, Json]]:
        """Report a result and return status and answer."""
        entry = {name: command[name] for name in ("execution_id", "command_id", "fence")} | {
            "status": "done",
            "size": len(result or b""),
            **more,
        }
        held = [[entry["execution_id"], entry["command_id"], entry["fence"]]]
        header = {"worker_id": self.name, "pool": "default", "free": free, "held": held, "reports": [entry]}
        host, _, port = self.at.url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            body = json.dumps(header).encode() + b"\n" + (result or b"")
            connection.request("POST", "/api/worker/report", body, {"Authorization": f"Bearer {self.live.token.reveal()}"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()
