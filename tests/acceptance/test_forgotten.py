"""A server dies between a parent and its sub-playbook, at each point where one has moved on and the other has not: the sweep sees to it.

The point is held by a lock on the row that is to be written next, until the server is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from live import Live
from stories import HEAD, python

from noetl.errors import NoetlError

MakeLive = Callable[..., contextlib.AbstractContextManager[Live]]
PARENT = HEAD.format(name="forgotten_parent") + "  - {step: start, tool: {kind: playbook, path: tests/forgotten_child}}\n"


@pytest.fixture
def own(make_live: MakeLive) -> Iterator[Live]:
    """A server that is there to be killed, and a worker."""
    with make_live() as one:
        one.server()
        one.worker()
        yield one


@contextlib.contextmanager
def dies_at(live: Live, row: str, *args: object) -> Iterator[None]:
    """Lock a row; when that is done what was to be seen, kill the server, let go of the row and start another server in its place."""
    server, where = live.a_server, live.postgres
    with asyncio.Runner() as runner:
        way = {"host": where.host, "port": where.port, "database": where.database, "user": where.user}
        held = runner.run(asyncpg.connect(**way, password=where.password.reveal()))
        transaction = held.transaction()
        runner.run(transaction.start())
        assert runner.run(held.fetch(f"{row} FOR UPDATE", *args))
        try:
            yield
        finally:
            server.kill()
            # PostgreSQL would do what a dead server has asked for as soon as the lock is gone.
            others = "datname = current_database() AND pid NOT IN ($1, pg_backend_pid())"
            end = f"SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE {others}"
            live.until(lambda: live.sql(end, held.get_server_pid()) == [{"n": 0}], "nobody else is in the database")
            runner.run(held.close())
    live.server(port=int(server.url.rsplit(":", 1)[1]))


def waits_for_a_file(live: Live, file: Path) -> None:
    """Register a sub-playbook that ends when a file is there, with a second step after it."""
    code = f"import os, time\nwhile not os.path.exists({str(file)!r}): time.sleep(0.02)\nresult = 1"
    live.register(python("forgotten_child", ("start", code), ("end", "result = 2")))


def child_of(live: Live, parent: str) -> str:
    """Return the child of an execution once its step runs."""
    found = live.until(
        lambda: live.sql(
            "SELECT e.execution_id FROM noetl.execution e JOIN noetl.command c USING (execution_id) "
            "WHERE e.parent_execution_id = $1 AND c.status = 'running'",
            int(parent),
        ),
        "the sub-playbook's step runs",
    )
    return str(found[0]["execution_id"])


def status(live: Live, execution: str) -> str:
    """Return the status that is recorded."""
    (row,) = live.sql("SELECT status FROM noetl.execution WHERE execution_id = $1", int(execution))
    return str(row["status"])


EXECUTION = "SELECT 1 FROM noetl.execution WHERE execution_id = $1"


def test_a_sub_playbook_that_was_not_begun(own: Live, tmp_path: Path) -> None:
    waits_for_a_file(own, tmp_path)
    own.register(PARENT)
    with dies_at(own, "SELECT 1 FROM noetl.catalog WHERE path = $1", "tests/forgotten_child"):
        parent = own.execute(PARENT)
        own.until(
            lambda: own.sql("SELECT 1 FROM noetl.command WHERE execution_id = $1 AND status = 'running'", int(parent)), "the step waits"
        )
    assert own.finish(parent)["result"] == 2
    assert len(own.sql("SELECT 1 FROM noetl.execution WHERE parent_execution_id = $1", int(parent))) == 1


def test_an_end_that_the_parent_was_not_told(own: Live, tmp_path: Path) -> None:
    waits_for_a_file(own, tmp_path / "go")
    parent = own.execute(PARENT)
    child = child_of(own, parent)
    with dies_at(own, EXECUTION, int(parent)):
        (tmp_path / "go").touch()
        own.until(lambda: status(own, child) == "COMPLETED", "the sub-playbook is over")
        assert status(own, parent) == "RUNNING"
    assert own.finish(parent)["result"] == 2
    assert len(own.events(parent, "call.done")) == 1


def test_a_cancel_that_did_not_reach_the_sub_playbook(own: Live, tmp_path: Path) -> None:
    waits_for_a_file(own, tmp_path / "never")
    parent = own.execute(PARENT)
    child = child_of(own, parent)
    with dies_at(own, EXECUTION, int(child)), asked(own, parent, "cancel"):
        own.until(lambda: status(own, parent) == "CANCELLED", "the parent is cancelled")
        assert status(own, child) == "RUNNING"
    assert own.finish(child)["status"] == "CANCELLED"


def test_a_pause_and_a_resume_that_did_not_reach_the_sub_playbook(own: Live, tmp_path: Path) -> None:
    waits_for_a_file(own, tmp_path / "go")
    parent = own.execute(PARENT)
    child = child_of(own, parent)
    for verb, before, after in (("pause", "RUNNING", "PAUSED"), ("resume", "PAUSED", "RUNNING")):
        with dies_at(own, EXECUTION, int(child)), asked(own, parent, verb):
            own.until(lambda after=after: status(own, parent) == after, f"the parent is {after}")
            assert status(own, child) == before
        own.until(lambda after=after: status(own, child) == after, f"the sub-playbook is {after}")
    (tmp_path / "go").touch()
    assert own.finish(parent)["result"] == 2


@contextlib.contextmanager
def asked(live: Live, execution: str, verb: str) -> Iterator[None]:
    """Ask for something that is not answered before the server dies."""

    def ask() -> None:
        with contextlib.suppress(NoetlError):
            client.post(f"/api/executions/{execution}/{verb}", {})

    client = live.api
    threading.Thread(target=ask, daemon=True).start()
    yield
