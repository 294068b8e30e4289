"""Processes die, stop and come back in the middle of work: no accepted work is lost, no recorded work repeated."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import nats
import psutil
import pytest
from live import Live, Running, ask, processes_of
from stories import DIE_WITH_THE_WORKER, SQUARES, append, python

from noetl import home as files
from noetl.bus import subjects
from noetl.ops import stack
from noetl.ops.client import Client
from noetl.settings import Postgres, Settings

Json = Any
MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
LEASE = 2.0
SHORT_LEASE = {"NOETL_LEASE_SECONDS": str(LEASE)}


@pytest.fixture(scope="module")
def effects(outside: Postgres) -> Postgres:
    """The database in which effects are counted."""
    ask(outside, "CREATE TABLE effect (execution text NOT NULL, n integer NOT NULL)")
    return outside


def store_outside(live: Live, outside: Postgres) -> None:
    """Tell a server how playbooks reach the database of effects."""
    data = {"db_host": outside.host, "db_port": outside.port, "db_user": outside.user, "db_name": outside.database}
    live.api.post("/api/credentials", {"name": "outside", "type": "postgres", "data": {**data, "db_password": outside.password.reveal()}})


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


def recorded_once(live: Live, execution_id: str, items: int) -> dict[int, int]:
    """Check that each item's result is recorded once; return how often each item lost its worker."""
    done = [event for event in live.events(execution_id, "call.done") if event["node_name"] == "each"]
    assert sorted(event["context"]["item"] for event in done) == list(range(items))
    rows = live.sql("SELECT item, status, lost FROM noetl.command WHERE execution_id = $1 AND step = 'each'", int(execution_id))
    assert sorted(row["item"] for row in rows) == list(range(items))
    assert {row["status"] for row in rows} == {"done"}
    return {row["item"]: row["lost"] for row in rows}


def is_running(live: Live, execution_id: str, step: str) -> str | None:
    """Return the worker that runs a step, None while nobody does."""
    found = [row for row in live.steps(execution_id) if row["step"] == step and row["state"] == "running"]
    return found[0]["worker"] if found else None


def began(file: Path) -> Callable[[], bool]:
    """Return whether a step has left its line."""
    return lambda: file.exists() and file.read_text() != ""


def test_another_worker_finishes_what_a_killed_one_ran(crew: Live, tmp_path: Path) -> None:
    """E1."""
    mark = tmp_path / "mark"
    workers = {name: crew.worker(name) for name in ("a", "b")}
    execution = crew.execute(python("e1", ("start", append(str(mark), "time.sleep(1.5)\nreturn 'done'"))))
    crew.until(began(mark), "the step has begun")
    first = str(is_running(crew, execution, "start")).partition(":")[0]
    workers[first].kill()
    killed = time.monotonic()
    crew.until(lambda: mark.read_text() == "xx", "another worker has begun the step", LEASE * 2 + 1)
    assert time.monotonic() - killed < LEASE * 2
    assert crew.finish(execution)["result"] == "done"
    (step,) = crew.steps(execution)
    assert (step["lost"], step["attempts"]) == (1, 1)
    assert not step["worker"].startswith(f"{first}:")


def test_a_step_whose_process_dies_fails_and_nothing_else(crew: Live) -> None:
    """E2."""
    worker = crew.worker()
    dead = crew.run(python("e2", ("start", "def main():\n    import os\n    os._exit(3)")))
    assert dead["status"] == "FAILED"
    assert dead["error"]["type"] == "process_exit"
    for _ in range(3):
        assert crew.run(python("e2b", ("start", "result = 1")))["result"] == 1
    assert worker.alive


def test_a_step_that_kills_its_worker_thrice_is_quarantined(crew: Live, tmp_path: Path) -> None:
    """E2."""
    mark = tmp_path / "mark"
    execution = crew.execute(python("quarantine", ("start", append(str(mark), DIE_WITH_THE_WORKER))))
    for number in range(3):
        worker = crew.worker(f"victim{number}")
        worker.process.wait(15)
    crew.worker("survivor")
    ended = crew.finish(execution)
    assert ended["status"] == "FAILED"
    assert ended["error"]["type"] == "quarantined"
    assert mark.read_text() == "xxx"
    assert crew.run(python("after", ("start", "result = 2")))["result"] == 2


def test_a_failure_is_recorded_while_the_worker_is_told_to_stop(crew: Live, tmp_path: Path) -> None:
    """E3."""
    mark = tmp_path / "mark"
    worker = crew.worker()
    execution = crew.execute(python("e3", ("start", append(str(mark), "time.sleep(1)\nraise ValueError('as it should')"))))
    crew.until(began(mark), "the step has begun")
    worker.terminate()
    ended = crew.finish(execution, 1)
    assert ended["status"] == "FAILED"
    assert "as it should" in ended["error"]["message"]


def test_what_was_cancelled_is_not_run_again_when_its_worker_dies(crew: Live, tmp_path: Path) -> None:
    """E5."""
    mark = tmp_path / "mark"
    worker = crew.worker()
    execution = crew.execute(python("e5", ("start", append(str(mark), "time.sleep(30)"))))
    crew.until(began(mark), "the step has begun")
    assert crew.api.post(f"/api/executions/{execution}/cancel")["status"] == "CANCELLED"
    worker.kill()
    crew.worker("fresh")
    time.sleep(LEASE * 2)
    assert crew.status(execution)["status"] == "CANCELLED"
    assert mark.read_text() == "x"


def test_cancel_stops_what_runs(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    crew.worker()
    code = append(str(mark), f"time.sleep(1.5)\nopen({str(mark)!r}, 'a').write('y')")
    execution = crew.execute(python("cancelled", ("start", code)))
    crew.until(began(mark), "the step has begun")
    crew.api.post(f"/api/executions/{execution}/cancel")
    time.sleep(2)
    assert mark.read_text() == "x"
    assert [step["state"] for step in crew.steps(execution)] == ["cancelled"]


def test_a_database_that_is_away_for_five_seconds(whole: Live, own_home: Path, effects: Postgres) -> None:
    """E6."""
    execution = whole.execute(SQUARES, {"items": 40, "pause": 0.4})
    whole.until(lambda: effect_counts(effects, execution), "the loop has begun")
    embedded = files.read_embedded(own_home)
    from noetl.ops import postgres

    postgres.stop(own_home, timeout=10)
    time.sleep(5)
    stack.start(Settings(home=own_home))
    assert files.read_embedded(own_home) == embedded
    ended = whole.finish(execution, 60)
    assert (ended["status"], ended["result"]) == ("COMPLETED", sum(n * n for n in range(40)))
    recorded_once(whole, execution, 40)


def test_the_stream_is_deleted(whole: Live, effects: Postgres) -> None:
    """E7."""

    async def delete() -> None:
        connection = await nats.connect(whole.nats_url.reveal())
        await connection.jetstream().delete_stream(subjects.STREAM)
        await connection.close()

    execution = whole.execute(SQUARES, {"items": 40, "pause": 0.1})
    whole.until(lambda: effect_counts(effects, execution), "the loop has begun")
    asyncio.run(delete())
    assert whole.finish(execution)["result"] == sum(n * n for n in range(40))
    after = time.monotonic()
    assert whole.finish(whole.execute(SQUARES, {"items": 8, "pause": 0}), 20)["status"] == "COMPLETED"
    assert time.monotonic() - after < 12
    assert set(recorded_once(whole, execution, 40).values()) == {0}


def test_a_server_that_is_away_for_longer_than_a_lease_takes_nothing_away(whole: Live, tmp_path: Path) -> None:
    """Invariant 4: a worker that is alive keeps what it runs, and its result counts."""
    mark = tmp_path / "mark"
    execution = whole.execute(python("away", ("start", append(str(mark), f"time.sleep({LEASE * 2.5})\nreturn 'once'"))))
    whole.until(began(mark), "the step has begun")
    server = whole.a_server
    server.kill()
    time.sleep(LEASE * 1.5)
    whole.server(port=int(server.url.rsplit(":", 1)[1]))
    assert whole.finish(execution)["result"] == "once"
    assert mark.read_text() == "x"
    assert [step["lost"] for step in whole.steps(execution)] == [0]


def test_what_a_worker_has_never_heard_of_is_not_lost_under_it(idle: Live) -> None:
    """Invariant 4: an answer to a claim that got lost costs time, not one of the command's lives."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    for _ in range(4):
        command = pretender.claim(execution)
        idle.until(
            lambda: (
                pretender.beat() is not None
                and idle.sql("SELECT status FROM noetl.command WHERE execution_id = $1", int(execution))[0]["status"] == "waiting"
            ),
            "it waits again",
        )
    (row,) = idle.sql("SELECT lost, fence FROM noetl.command WHERE execution_id = $1", int(execution))
    assert row == {"lost": 0, "fence": command["fence"] + 1}
    idle.api.post(f"/api/executions/{execution}/cancel")


def test_a_worker_whose_server_was_away_has_not_lost_its_commands(idle: Live) -> None:
    """Invariant 4: taken away for good, but not counted against the command."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)
    idle.sql("UPDATE noetl.command SET lease_until = now() - interval '1 s' WHERE execution_id = $1", int(execution))
    query = "SELECT status, lost FROM noetl.command WHERE execution_id = $1"
    idle.until(lambda: idle.sql(query, int(execution)) == [{"status": "waiting", "lost": 1}], "its lease has run out", 25)
    key = [command["execution_id"], command["command_id"], command["fence"]]
    assert pretender.beat(held=[key])["lost"] == [key]
    assert idle.sql(query, int(execution)) == [{"status": "waiting", "lost": 0}]
    idle.api.post(f"/api/executions/{execution}/cancel")


@pytest.mark.parametrize("victim", ["worker", "server", "postgres", "nats"])
def test_anything_is_killed_in_the_middle_of_a_loop(whole: Live, own_home: Path, effects: Postgres, victim: str) -> None:
    """Invariants 4, 5 and 7, E7: `kill -9` of each process, which then is started again."""
    items = 40
    execution = whole.execute(SQUARES, {"items": items, "pause": 0.4})
    whole.until(lambda: len(effect_counts(effects, execution)) > 8, "the loop is in its middle")
    if victim == "worker":
        worker = next(running for running in whole.processes if running.alive and not running.url)
        worker.kill()
        whole.worker(f"w{len(whole.processes)}")
    elif victim == "server":
        server = whole.a_server
        server.kill()
        time.sleep(1)
        whole.server(port=int(server.url.rsplit(":", 1)[1]))
    else:
        from noetl.ops import nats as embedded_nats
        from noetl.ops import postgres as embedded_postgres

        record = (embedded_nats if victim == "nats" else embedded_postgres).find(own_home)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        time.sleep(1)
        stack.start(Settings(home=own_home))
    ended = whole.finish(execution, 60)
    assert (ended["status"], ended["result"]) == ("COMPLETED", sum(n * n for n in range(items))), ended["error"]
    (loop,) = [step["loop"] for step in whole.steps(execution) if step["step"] == "each"]
    assert loop == {"total": items, "done": items, "failed": 0, "cancelled": 0, "running": 0, "waiting": 0}
    lost = recorded_once(whole, execution, items)
    times = effect_counts(effects, execution)
    assert {n for n in range(items) if times.get(n, 0) < 1} == set()
    assert {n: (count, lost[n]) for n, count in times.items() if count > 1 + lost[n]} == {}
    assert whole.run(SQUARES, {"items": 4, "pause": 0})["status"] == "COMPLETED"


def test_two_servers_run_nothing_twice(crew: Live, effects: Postgres) -> None:
    """E8."""
    second = crew.server()
    crew.worker("a")
    crew.worker("b", server=second)
    clients = [crew.api, Client(second.url, crew.token)]
    executions = [crew.execute(SQUARES, {"items": 10, "pause": 0.01}, api=clients[number % 2]) for number in range(10)]
    for execution in executions:
        assert crew.finish(execution)["result"] == sum(n * n for n in range(10))
        assert effect_counts(effects, execution) == dict.fromkeys(range(10), 1)
        recorded_once(crew, execution, 10)
    second.terminate()


def test_a_server_that_is_stopped_stops_nobody_else(crew: Live, effects: Postgres) -> None:
    """E13, with a shorter stop: the one that goes on, and nothing runs twice when the other wakes."""
    live = crew.a_server
    frozen = crew.server()
    crew.worker("a", server=live)
    beside = Client(frozen.url, crew.token, timeout=5)
    executions: list[str] = []
    stop = threading.Event()

    def post() -> None:
        while not stop.is_set():
            with contextlib.suppress(Exception):
                executions.append(crew.execute(SQUARES, {"items": 5, "pause": 0.01}, api=beside))

    poster = threading.Thread(target=post)
    poster.start()
    time.sleep(0.7)
    frozen.send(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        known = list(executions)
        assert known
        for execution in [*known, *(crew.execute(SQUARES, {"items": 5, "pause": 0.01}) for _ in range(3))]:
            assert crew.finish(execution, 20)["status"] == "COMPLETED"
            executions.append(execution)
        assert time.monotonic() - begun < 20
        time.sleep(max(0.0, 4 - (time.monotonic() - begun)))
    finally:
        stop.set()
        frozen.send(signal.SIGCONT)
        poster.join(15)
    time.sleep(1)
    for execution in dict.fromkeys(executions):
        assert crew.finish(execution)["result"] == sum(n * n for n in range(5))
        assert effect_counts(effects, execution) == dict.fromkeys(range(5), 1)
    frozen.terminate()


@pytest.mark.parametrize("blocking", ["time.sleep(5)", "ctypes.PyDLL(None).sleep(5)", "re.match(r'(a+)+$', 'a' * 26 + 'b')"])
def test_a_step_that_blocks_is_not_taken_away(crew: Live, tmp_path: Path, blocking: str) -> None:
    """E10: asleep, holding the interpreter's lock, busy; for longer than a lease."""
    mark = tmp_path / "mark"
    crew.worker("a")
    execution = crew.execute(python("e10", ("start", append(str(mark), f"{blocking}\nreturn 'done'"))))
    assert crew.finish(execution)["result"] == "done"
    (step,) = crew.steps(execution)
    assert (step["lost"], mark.read_text()) == (0, "x")


def test_no_update_leaves_a_terminal_status(live: Live) -> None:
    """E12."""
    execution = live.run(python("e12", ("start", "result = 1")))["execution_id"]
    for status in ("RUNNING", "FAILED"):
        with pytest.raises(asyncpg.CheckViolationError, match="final"):
            live.sql("UPDATE noetl.execution SET status = $2, end_time = NULL WHERE execution_id = $1", int(execution), status)


def test_the_loops_counts_add_up_at_every_moment(crew: Live) -> None:
    """Invariant 7."""
    crew.worker()
    execution = crew.execute(SQUARES, {"items": 60, "pause": 0.05})
    sums, running = [], []
    while crew.status(execution)["status"] == "RUNNING":
        loops = [step["loop"] for step in crew.steps(execution) if step["loop"]]
        sums += [loop["done"] + loop["failed"] + loop["cancelled"] + loop["waiting"] + loop["running"] - loop["total"] for loop in loops]
        running += [loop["running"] for loop in loops]
        assert all(count >= 0 for loop in loops for count in loop.values())
        (rows,) = crew.sql("SELECT count(*) AS rows FROM noetl.command WHERE execution_id = $1 AND step = 'each'", int(execution))
        assert rows["rows"] in (0, 60)
    assert set(sums) == {0}
    assert max(running) > 1
    assert crew.status(execution)["status"] == "COMPLETED"


def test_a_server_ends_soon_with_an_open_stream(crew: Live) -> None:
    """A7 and invariant 12."""
    second = crew.server()
    execution = crew.execute(python("a7", ("start", "import time; time.sleep(60)")))
    client = Client(second.url, crew.token)
    heard: list[str] = []

    def follow() -> None:
        with contextlib.suppress(Exception):
            heard.extend(message.event for message in client.stream(f"/api/executions/{execution}/stream"))

    follower = threading.Thread(target=follow)
    follower.start()
    crew.until(lambda: heard, "the stream has begun")
    assert second.terminate() < 3
    assert second.process.returncode == 0
    follower.join(5)
    assert not follower.is_alive()
    crew.api.post(f"/api/executions/{execution}/cancel")


def test_a_worker_that_is_told_to_stop_hands_its_work_back(crew: Live, tmp_path: Path) -> None:
    """Invariant 12: what runs on is given back within a bound, and no process is left."""
    mark = tmp_path / "mark"
    worker = crew.worker("leaver")
    tree = psutil.Process(worker.pid)
    code = append(str(mark), f"if len(open({str(mark)!r}).read()) > 1:\n    return 'second'\ntime.sleep(60)")
    execution = crew.execute(python("handback", ("start", code)))
    crew.until(began(mark), "the step has begun")
    family = tree.children(recursive=True)
    assert family
    assert worker.terminate() < 8
    assert worker.process.returncode == 0
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    (command,) = crew.sql("SELECT status, lost, attempt FROM noetl.command WHERE execution_id = $1", int(execution))
    assert command == {"status": "waiting", "lost": 0, "attempt": 1}
    crew.worker("heir")
    assert crew.finish(execution)["result"] == "second"
    assert "leaver" in {row["name"] for row in crew.api.get("/api/workers")["workers"] if row["status"] == "gone"}


def test_a_killed_worker_leaves_no_process(crew: Live, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    worker = crew.worker("killed")
    execution = crew.execute(python("orphans", ("start", append(str(mark), "time.sleep(60)"))))
    crew.until(began(mark), "the step has begun")
    family = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    crew.until(lambda: not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE], "the children are gone", 5)
    crew.api.post(f"/api/executions/{execution}/cancel")


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
        import json

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


CHAIN = python("chain", ("start", "result = 1"), ("middle", "result = 2"), ("end", "result = 3"))


def test_servers_do_not_trust_their_memory_of_what_another_has_moved_on(idle: Live) -> None:
    """E8: claims and reports of one execution at two servers in turn, each of which remembers an older state of it."""
    second = idle.server()
    here, there = Pretender(idle), Pretender(idle, second)
    steps = [
        ("start", "result = 1"),
        ("a", "def main(start): return start"),
        ("b", "def main(a): return a"),
        ("end", "def main(b): return b"),
    ]
    execution = idle.execute(python("turns", *steps))
    for number, ((step, _), before) in enumerate(zip(steps, [None, "start", "a", "b"], strict=True)):
        claimer, reporter = (here, there) if number % 2 else (there, here)
        command = claimer.claim(execution)
        assert command["step"] == step
        assert before is None or command["scope"][before] == number
        assert claimer.api.get(f"/api/worker/context/{execution}/{before}") == number if before else True
        reporter.name, kept = claimer.name, reporter.name
        assert reporter.report(command, str(number + 1).encode(), free=0)[1]["answers"] == ["recorded"]
        reporter.name = kept
    assert idle.finish(execution)["result"] == 4
    second.terminate()


def test_the_same_report_again_gets_the_same_next_commands(idle: Live) -> None:
    """E14."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)
    _, first = pretender.report(command, b"1")
    _, again = pretender.report(command, b"1")
    assert first["answers"] == ["recorded"]
    assert again["answers"] == ["duplicate"]
    assert [one["step"] for one in first["commands"]] == ["middle"]
    assert again["commands"] == first["commands"]
    (middle,) = first["commands"]
    _, third = pretender.report(middle, b"2")
    assert pretender.report(third["commands"][0], b"3")[1]["commands"] == []
    assert idle.finish(execution)["result"] == 3
    assert len(idle.events(execution, "call.done")) == 3


def test_late_and_forged_reports_change_nothing(idle: Live) -> None:
    """Invariant 3."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    command = pretender.claim(execution)

    def state() -> Json:
        commands = idle.sql("SELECT command_id, status, fence, result::text FROM noetl.command WHERE execution_id = $1", int(execution))
        return commands, idle.events(execution), idle.status(execution)["status"]

    before = state()
    forged = [
        {**command, "fence": command["fence"] + 1},
        {**command, "fence": 0},
        {**command, "command_id": 77},
    ]
    for other in forged:
        status, answer = pretender.report(other, b'"forged"')
        assert (status, answer["answers"], answer["commands"]) == (200, ["stale"], [])
        assert state() == before
    status, answer = pretender.report({**command, "execution_id": "12345"}, b'"forged"')
    assert answer["answers"] == ["refused: not_found"]
    assert pretender.report(command, b"1")[1]["answers"] == ["recorded"]
    before = state()
    assert pretender.report(command, b'"another result"')[1]["answers"] == ["duplicate"]
    assert state() == before
    idle.api.post(f"/api/executions/{execution}/cancel")
    before = state()
    assert pretender.report({**command, "command_id": 2, "fence": 1}, b"2")[1]["answers"] == ["stale"]
    assert state() == before


@pytest.mark.parametrize(
    "body", [b'"\\u0000"', b"NaN", b"{nonsense", b'"\\ud800"', b'"\xff\xfe"', b"[" * 100_000, b"1e999", b"9223372036854775808"]
)
def test_an_odd_report_is_stored_or_fails_its_step(idle: Live, body: bytes) -> None:
    """E15: what a worker that does not behave may send."""
    pretender = Pretender(idle)
    execution = idle.execute(CHAIN)
    status, answer = pretender.report(pretender.claim(execution), body)
    assert (status, answer["answers"]) == (200, ["recorded"])
    found = idle.status(execution)
    if found["status"] == "FAILED":
        assert found["error"]["type"] == "result"
    else:
        idle.events(execution)
        assert [one["step"] for one in answer["commands"]] == ["middle"]
        idle.api.post(f"/api/executions/{execution}/cancel")


VALUES = {
    "nul": (r"'a\0b'", "a\0b"),
    "nan": "float('nan')",
    "infinity": "float('inf')",
    "two to the 63rd": ("2**63", 2**63),
    "two to the 200th": "2**200",
    "a lone surrogate": r"'\ud800'",
    "odd letters": (r"'\U0001F600 \u202e \u0301 \x7f'", "\U0001f600 \u202e \u0301 \x7f"),
    "five megabytes": ("'x' * 5_000_000", "x" * 5_000_000),
    "an object": "object()",
    "bytes": r"b'\xff\0'",
    "a set": "{1}",
    "deep": "eval('[' * 90 + ']' * 90)",
    "keys": ("{1: 2, None: 3, 'a': {}}", None),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_odd_result_is_stored_or_refused(live: Live, name: str) -> None:
    """E15: what comes back is what went in, or the step fails with a clear error; the next execution completes."""
    code, *expected = VALUES[name] if isinstance(VALUES[name], tuple) else (VALUES[name],)
    ended = live.run(python("odd", ("start", f"def main():\n    return {code}"), ("end", "def main(start):\n    return start")))
    if ended["status"] == "COMPLETED":
        result = live.result(ended["execution_id"], "end")
        assert not expected or expected[0] in (None, result)
        live.api.get(f"/api/executions/{ended['execution_id']}")
    else:
        assert ended["error"]["message"]
        assert ended["error"]["type"] != "internal"
        assert not expected or "NUL" in ended["error"]["message"].upper() or "\\u0000" in ended["error"]["message"], ended["error"]
    assert live.run(python("even", ("start", "result = 'well'")))["result"] == "well"


def test_nothing_is_left_of_a_platform_that_was_told_to_stop(make_live: MakeLive, tmp_path: Path) -> None:
    """Invariant 12."""
    with make_live() as one:
        server: Running = one.server()
        worker = one.worker()
        assert one.run(python("last", ("start", "result = 1")))["status"] == "COMPLETED"
        assert worker.terminate() < 3
        assert server.terminate() < 3
        assert processes_of(one.home) == []
