from __future__ import annotations

from typing import Any

import orjson
import pytest

from noetl.tools.base import ToolError
from noetl.tools.request import build

URL = "http://host/x?kept=1"


@pytest.mark.parametrize("method", ["get", "DELETE"])
@pytest.mark.parametrize(
    ("config", "query"),
    [
        ({"data": {"query": {"a": 1}}}, "kept=1&a=1"),
        ({"data": {"a": 1}, "params": {"b": 2}}, "kept=1&a=1"),
        ({"params": {"b": [2, 3], "c": None, "d": True}}, "kept=1&b=2&b=3&d=true"),
        ({}, "kept=1"),
    ],
)
def test_queries(method: str, config: dict[str, Any], query: str) -> None:
    request = build({"url": URL, "method": method, **config})
    assert request.target.query_string == query
    assert request.body is None


@pytest.mark.parametrize(
    ("config", "body", "query"),
    [
        ({"data": {"body": {"a": 1}, "query": {"q": 2}}}, {"a": 1}, "kept=1&q=2"),
        ({"data": {"a": 1}}, {"a": 1}, "kept=1"),
        ({"payload": {"a": 1}, "params": {"p": 1}}, {"a": 1}, "kept=1&p=1"),
        ({"payload": {"a": 1}, "data": {"query": {"q": 2}}}, {"a": 1}, "kept=1&q=2"),
        ({"body": [1]}, [1], "kept=1"),
        ({"json": "text"}, "text", "kept=1"),
        ({"body": '{"a": 1}'}, {"a": 1}, "kept=1"),
    ],
)
def test_bodies(config: dict[str, Any], body: Any, query: str) -> None:
    request = build({"url": URL, "method": "post", **config})
    assert request.body is not None
    assert orjson.loads(request.body) == body
    assert request.headers["Content-Type"] == "application/json"
    assert request.target.query_string == query


def test_a_form() -> None:
    request = build(
        {"url": URL, "method": "PUT", "headers": {"content-type": "application/x-www-form-urlencoded"}, "data": {"a": "b c", "n": 1}}
    )
    assert request.body == b"a=b+c&n=1"


def test_an_idempotency_key_is_added_but_not_replaced() -> None:
    assert build({"url": URL, "method": "POST"}, "e:1").headers == {"Idempotency-Key": "e:1"}
    assert build({"url": URL, "method": "POST", "headers": {"idempotency-key": "own"}}, "e:1").headers == {"idempotency-key": "own"}
    assert build({"url": URL}, "e:1").headers == {}


@pytest.mark.parametrize("config", [{}, {"url": "ftp://x"}, {"url": "/x"}, {"url": URL, "headers": [1]}, {"url": URL, "params": "a=1"}])
def test_what_is_no_request_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ToolError) as caught:
        build(config)
    assert caught.value.type == "config"


@pytest.mark.parametrize(("value", "verify"), [(None, True), (True, True), (False, False), ("false", False), ("yes", True)])
def test_verification(value: Any, verify: bool) -> None:
    assert build({"url": URL, "verify_ssl": value}).verify is verify
