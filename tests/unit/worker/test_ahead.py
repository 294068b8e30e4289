"""What a worker is told ahead of an answer counts only as far as the answer says so."""

from __future__ import annotations

from typing import Any

import orjson

from noetl.worker.ahead import Ahead
from noetl.worker.job import Job
from noetl.worker.slots import Slots


class Recording:
    """A sandbox and the playbooks: jobs are documents, and what is asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def known_job(self, document: dict[str, Any]) -> Any:
        key = (document["execution_id"], document["command_id"], document["fence"])
        return Job(key=key, step=document["step"], tool=None)  # type: ignore[arg-type]

    def prepare(self, job: Job) -> None:
        self.asked.append(("prepare", job.step))

    def drop(self, key: Any) -> None:
        self.asked.append(("drop", key))


def document(step: str, number: int = 2) -> dict[str, Any]:
    return {"execution_id": "1", "command_id": number, "fence": 1, "step": step}


def test_what_the_answer_names_is_what_was_told() -> None:
    recording = Recording()
    with Ahead(recording, recording, Slots(4)) as ahead:  # type: ignore[arg-type]
        ahead.told(orjson.dumps([document("a")]))
        (found,) = ahead.found([["1", 2, 1]])
    assert (found["step"], found["job"].step) == ("a", "a")
    assert recording.asked == [("prepare", "a")]


def test_a_command_that_became_another_one_is_made_ready_anew() -> None:
    recording = Recording()
    with Ahead(recording, recording, Slots(4)) as ahead:  # type: ignore[arg-type]
        ahead.told(orjson.dumps([document("a")]))
        assert ahead.found([document("b")]) == [document("b")]
    assert recording.asked == [("prepare", "a"), ("drop", ("1", 2, 1))]


def test_what_the_answer_does_not_name_is_dropped() -> None:
    recording = Recording()
    with Ahead(recording, recording, Slots(4)) as ahead:  # type: ignore[arg-type]
        ahead.told(orjson.dumps([document("a"), document("b", 3)]))
        ahead.found([["1", 3, 1]])
    assert recording.asked == [("prepare", "a"), ("prepare", "b"), ("drop", ("1", 2, 1))]


def test_nothing_is_made_ready_that_would_have_to_wait() -> None:
    recording = Recording()
    slots = Slots(1)
    slots.running["9", 9, 9] = 0.0
    with Ahead(recording, recording, slots) as ahead:  # type: ignore[arg-type]
        ahead.told(orjson.dumps([document("a")]))
        assert [found["step"] for found in ahead.found([["1", 2, 1]])] == ["a"]
    assert recording.asked == []
