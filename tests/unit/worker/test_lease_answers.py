"""What a worker makes of the server's word on its leases."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from noetl.errors import NotFound
from noetl.playbook.model import Tool
from noetl.settings import Secret, read
from noetl.worker import loop as module
from noetl.worker.job import Job
from noetl.worker.loop import Worker

KEY = ("1", 2, 3)
HELD = list(KEY)


class Server:
    """Answers heartbeats in turn."""

    url = "http://nowhere"

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def post(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        assert path == "/api/worker/heartbeat"
        self.asked.append(document)
        return {"lost": [], "unsure": [], "waiting": False, "unknown": False, **self.answers.pop(0)}


def worker(home: Path, server: Server) -> Worker:
    settings: Any = read({"NOETL_HOME": str(home)})
    api: Any = server
    made = Worker(settings, api, Secret("t"), worker_id="w:1", replaces="", pool="default", slots=1, nats_url=None)
    made._beat = 5.0
    made._slots.take(Job(KEY, "step", Tool("python", {}, {})), 1, 100.0)
    return made


async def test_a_lease_that_is_being_decided_about_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 4."""
    monkeypatch.setattr(module, "UNSURE", 0)
    server = Server({"unsure": [HELD]}, {"unsure": [HELD]}, {})
    before = time.monotonic()
    until = await worker(tmp_path, server)._confirmed(KEY)
    assert [document["begun"] for document in server.asked] == [[HELD]] * 3
    assert before + 5 <= until <= time.monotonic() + 5


async def test_a_lease_that_is_taken_away_meanwhile_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSURE", 0)
    with pytest.raises(NotFound, match="no longer leased"):
        await worker(tmp_path, Server({"unsure": [HELD]}, {"lost": [HELD]}))._confirmed(KEY)


@pytest.mark.parametrize(("answer", "sure"), [({}, 200.0), ({"unsure": [HELD]}, 100.0)])
async def test_only_what_the_server_is_sure_of_makes_a_lease_good_for_longer(tmp_path: Path, answer: dict[str, Any], sure: float) -> None:
    """A command that waits for its turn here may begin without a question for as long as its lease was known to be live."""
    made = worker(tmp_path, Server())
    made._heard({"lost": [], "waiting": False, "unknown": False, **answer}, [HELD], 200.0)
    assert made._slots.taken[KEY].sure == sure


async def test_a_mistake_with_one_command_holds_no_lease_of_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker answers for without ever running it would be nobody's for ever."""
    made = worker(tmp_path, Server())

    def known_job(command: dict[str, Any]) -> Job:
        raise RuntimeError(command["command_id"])

    monkeypatch.setattr(made._playbooks, "known_job", known_job)
    commands = [{"execution_id": "9", "command_id": number, "fence": 1, "attempt": 1} for number in (1, 2, 3)]
    with pytest.raises(RuntimeError):
        await made._take(commands, 100.0)
    assert made._slots.held == [HELD]


async def test_what_comes_while_a_worker_drains_is_handed_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = ("1", 4, 1)
    monkeypatch.setattr(module, "DRAIN", 0.0)
    made = worker(tmp_path, Server())
    returned: list[list[Any]] = []

    async def post(path: str, document: dict[str, Any]) -> dict[str, Any]:
        assert path == "/api/worker/return"
        returned.append(document["held"])
        if len(returned) == 1:
            made._slots.take(Job(late, "step", Tool("python", {}, {})), 1, 100.0)
        return {}

    monkeypatch.setattr(made._api, "post", post)
    await made._drain()
    assert returned == [[HELD], [list(late)]]
