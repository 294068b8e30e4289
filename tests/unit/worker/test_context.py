from __future__ import annotations

import pytest

from noetl.errors import NotFound
from noetl.worker.context import Context

FAR = {"far": 1, "workload": {"a": 1, "b": 2}}


def context(asked: list[str], **options: object) -> Context:
    def fetch(name: str) -> object:
        asked.append(name)
        if name not in FAR:
            raise NotFound(name)
        return FAR[name]

    return Context({"near": 0, "workload": {"a": 1}}, fetch, **options)  # type: ignore[arg-type]


def test_values_are_fetched_once_and_only_when_read() -> None:
    asked: list[str] = []
    mapping = context(asked)
    assert mapping["near"] == 0
    assert asked == []
    assert mapping["far"] == mapping["far"] == 1
    assert asked == ["far"]


def test_what_is_there_in_part_is_fetched_whole() -> None:
    asked: list[str] = []
    assert context(asked, partial=("workload",))["workload"] == {"a": 1, "b": 2}
    assert asked == ["workload"]


def test_known_names_need_no_asking() -> None:
    asked: list[str] = []
    mapping = context(asked, names=("far",))
    assert "far" in mapping
    assert "other" not in mapping
    assert list(mapping) == ["near", "workload", "far"]
    assert len(mapping) == 3
    assert asked == []
    with pytest.raises(KeyError):
        mapping["other"]


def test_unknown_names_are_asked_for() -> None:
    asked: list[str] = []
    mapping = context(asked)
    assert mapping.get("other", 7) == 7
    assert "far" in mapping
    assert asked == ["other", "far"]
