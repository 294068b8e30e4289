"""What a worker is told ahead of an answer counts only as far as the answer says so."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from noetl.worker.ahead import Ahead
from noetl.worker.job import Job
from noetl.worker.slots import Slots


class Recording:
    """A sandbox and the playbooks: jobs are documents, and what is asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.ready: set[Any] = set()

    def ahead(self, slots: Slots) -> Ahead:
        """Return what hears of one request; what is held begins as a worker has it begin."""

        def begin() -> None:
            while (taken := slots.next()) is not None:
                self.asked.append(("begin", taken.job.step))

        return Ahead(self, self, slots, begin)  # type: ignore[arg-type]

    def known_job(self, document: dict[str, Any]) -> Any:
        key = (document["execution_id"], document["command_id"], document["fence"])
        return Job(key=key, step=document["step"], tool=None)  # type: ignore[arg-type]

    def prepare(self, job: Job) -> None:
        self.asked.append(("prepare", job.step))
        self.ready.add(job.key)

    def is_prepared(self, key: Any) -> bool:
        return key in self.ready

    def drop(self, key: Any) -> None:
        self.asked.append(("drop", key))


def document(step: str, number: int = 2) -> dict[str, Any]:
    return {"execution_id": "1", "command_id": number, "fence": 1, "step": step, "attempt": 1}


def answer(*commands: Any, **more: Any) -> bytes:
    return orjson.dumps({"answers": ["recorded"], "commands": list(commands), **more})


def test_what_the_answer_names_is_what_was_told() -> None:
    recording = Recording()
    with recording.ahead(Slots(4)) as ahead:
        ahead.told(orjson.dumps([document("a")]))
        (found,) = ahead.found([["1", 2, 1]])
    assert (found["step"], found["job"].step) == ("a", "a")
    assert recording.asked == [("prepare", "a")]


def test_a_command_that_became_another_one_is_made_ready_anew() -> None:
    recording = Recording()
    with recording.ahead(Slots(4)) as ahead:
        ahead.told(orjson.dumps([document("a")]))
        assert ahead.found([document("b")]) == [document("b")]
    assert recording.asked == [("prepare", "a"), ("drop", ("1", 2, 1))]


def test_what_the_answer_does_not_name_is_dropped() -> None:
    recording = Recording()
    with recording.ahead(Slots(4)) as ahead:
        ahead.told(orjson.dumps([document("a"), document("b", 3)]))
        ahead.found([["1", 3, 1]])
    assert recording.asked == [("prepare", "a"), ("prepare", "b"), ("drop", ("1", 2, 1))]


def test_nothing_is_made_ready_that_would_have_to_wait() -> None:
    recording = Recording()
    slots = Slots(1)
    slots.running["9", 9, 9] = 0.0
    with recording.ahead(slots) as ahead:
        ahead.told(orjson.dumps([document("a")]))
        assert [found["step"] for found in ahead.found([["1", 2, 1]])] == ["a"]
    assert recording.asked == []


def test_what_is_ready_begins_the_moment_the_answer_names_it() -> None:
    recording, slots = Recording(), Slots(4)
    with recording.ahead(slots) as ahead:
        ahead.told(orjson.dumps([document("a")]))
        ahead.answered(answer(["1", 2, 1]))
        assert recording.asked == [("prepare", "a"), ("begin", "a")]
        assert list(slots.running) == [("1", 2, 1)]
        assert ahead.found([["1", 2, 1], document("b", 3)]) == [document("b", 3)]
    assert recording.asked == [("prepare", "a"), ("begin", "a")]


def test_the_lease_of_a_worker_that_waited_is_as_old_as_the_answer() -> None:
    recording, slots = Recording(), Slots(4)
    sure: list[float] = []
    ahead = Ahead(recording, recording, slots, lambda: sure.extend(taken.sure for taken in slots.taken.values()))  # type: ignore[arg-type]
    asked = time.monotonic()
    with ahead:
        ahead.told(orjson.dumps([document("a")]))
        ahead.answered(answer(["1", 2, 1], waited=100.0))
    assert asked + 90 < sure[0] <= asked + 100


@pytest.mark.parametrize(
    "hinder",
    [
        lambda recording, slots: slots.running.update({("9", number, 9): 0.0 for number in range(4)}),
        lambda recording, slots: slots.take(Job(key=("9", 9, 9), step="z", tool=None), 1, 0.0),  # type: ignore[arg-type]
        lambda recording, slots: slots.reporting.update({("1", 2, 1): None}),
        lambda recording, slots: setattr(slots, "draining", True),
        lambda recording, slots: recording.ready.clear(),
    ],
    ids=["no room", "others wait", "it is over", "the worker drains", "it is not ready"],
)
def test_what_cannot_begin_at_once_is_left_to_the_answer(hinder: Any) -> None:
    recording, slots = Recording(), Slots(4)
    with recording.ahead(slots) as ahead:
        ahead.told(orjson.dumps([document("a")]))
        hinder(recording, slots)
        ahead.answered(answer(["1", 2, 1]))
        assert [found["step"] for found in ahead.found([["1", 2, 1]])] == ["a"]
    assert recording.asked == [("prepare", "a")]


@pytest.mark.parametrize("commands", [[], [document("b")], [["1", 3, 1]]], ids=["nothing", "another one in full", "an unknown one"])
def test_nothing_begins_that_the_answer_does_not_name(commands: list[Any]) -> None:
    recording = Recording()
    with recording.ahead(Slots(4)) as ahead:
        ahead.told(orjson.dumps([document("a")]))
        ahead.answered(answer(*commands))
    assert recording.asked == [("prepare", "a"), ("drop", ("1", 2, 1))]
