from __future__ import annotations

import copy
from typing import Any

import pytest

from noetl.worker.overrides import overridden


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        ({"params": {"a": 1, "b": 2}}, {"params": {"b": 3}}, {"params": {"a": 1, "b": 3}}),
        ({"params": None}, {"params": {"b": 3}}, {"params": {"b": 3}}),
        ({"data": {"a": 1}}, {"params": {"b": 3}}, {"data": {"a": 1, "b": 3}}),
        ({"data": {"query": {"a": 1}}}, {"params": {"a": 3}}, {"data": {"query": {"a": 3}}}),
        ({"method": "POST", "data": {"a": 1}}, {"params": {"b": 3}}, {"method": "POST", "data": {"a": 1}, "params": {"b": 3}}),
        ({"method": "POST", "data": {"a": 1}}, {"body": {"b": 3}}, {"method": "POST", "body": {"b": 3}}),
        ({"payload": 1, "json": 2}, {"payload": 3}, {"payload": 3}),
        ({"endpoint": "http://h/a"}, {"url": "http://h/b"}, {"url": "http://h/b"}),
        ({"url": "http://h/a?p=1&q=2"}, {"params": {"p": 3}}, {"url": "http://h/a?q=2", "params": {"p": 3}}),
    ],
)
def test_overrides(config: dict[str, Any], overrides: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    assert overridden(config, overrides) == expected
    assert config == before
