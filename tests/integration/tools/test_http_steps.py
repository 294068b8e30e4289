"""The http tool against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from outcomes import value

from noetl.worker.sandbox import Failed


async def test_the_envelope_of_a_get(bench: Any, http_server: str) -> None:
    config = {"url": "{{ base }}/anything?kept=1", "params": {"a": "{{ n }}", "b": None, "c": [1, 2]}}
    result = value(await bench.run("http", config, scope={"base": http_server, "n": 5}))
    assert result["status_code"] == result["status"] == 200
    assert result["headers"]["content-type"].startswith("application/json")
    assert result["data"]["method"] == "GET"
    assert result["data"]["query"] == [["kept", "1"], ["a", "5"], ["c", "1"], ["c", "2"]]
    assert "idempotency-key" not in result["data"]["headers"]
    assert result["elapsed"] > 0


async def test_a_post_sends_json_and_an_idempotency_key(bench: Any, http_server: str) -> None:
    config = {"method": "post", "endpoint": f"{http_server}/anything", "payload": {"order": "{{ order }}"}}
    sent = value(await bench.run("http", config, scope={"order": {"id": 7}}, idempotency_key="e1:9"))["data"]
    assert orjson.loads(sent["body"]) == {"order": {"id": 7}}
    assert sent["headers"]["content-type"] == "application/json"
    assert sent["headers"]["idempotency-key"] == "e1:9"


async def test_forms(bench: Any, http_server: str) -> None:
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        config = {"method": "POST", "url": f"{http_server}/anything", "headers": {"Content-Type": content_type}, "data": {"a": "ü", "n": 1}}
        assert value(await bench.run("http", config))["data"]["form"] == {"a": "ü", "n": "1"}


async def test_connections_are_kept(bench: Any, http_server: str) -> None:
    config = {"url": f"{http_server}/anything"}
    assert len({value(await bench.run("http", config))["data"]["peer"] for _ in range(3)}) == 1


async def test_text_stays_text_and_redirects_are_followed(bench: Any, http_server: str) -> None:
    assert value(await bench.run("http", {"url": f"{http_server}/moved"}))["data"] == "plain"


async def test_a_bad_status_fails_and_keeps_the_envelope(bench: Any, http_server: str) -> None:
    outcome = await bench.run("http", {"url": f"{http_server}/status/503?key=hidden"})
    assert isinstance(outcome, Failed)
    assert outcome.error["status"] == outcome.error["status_code"] == 503
    assert "503" in outcome.error["message"]
    assert "hidden" not in outcome.error["message"]
    assert outcome.result_json is not None
    assert orjson.loads(outcome.result_json)["data"] == {"why": "because"}


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"url": "http://127.0.0.1:1/"}, "ClientConnectorError"),
        ({"url": "no-url"}, "config"),
        ({"url": "http://127.0.0.1:1/", "headers": "x"}, "config"),
    ],
)
async def test_what_cannot_be_sent_fails(bench: Any, config: dict[str, Any], kind: str) -> None:
    assert (await bench.run("http", config)).error["type"] == kind


async def test_a_request_has_a_time_limit_and_the_process_stays(bench: Any, http_server: str) -> None:
    pid = value(await bench.python("import os\nresult = os.getpid()"))
    outcome = await bench.run("http", {"url": f"{http_server}/slow", "timeout": 0.3})
    assert outcome.error["type"] == "timeout"
    assert value(await bench.python("import os\nresult = os.getpid()")) == pid


@pytest.mark.parametrize(
    ("auth", "data", "header", "expected"),
    [
        ("api", {"token": "tok-secret"}, "authorization", "Bearer ***"),
        ({"type": "bearer", "credential": "api"}, {"access_token": "tok-secret"}, "authorization", "Bearer ***"),
        ({"source": "credential", "key": "api"}, {"username": "ada", "password": "pass-word"}, "authorization", "Basic ***"),
        ({"main": {"type": "api_key", "credential": "api", "header": "X-Key"}}, {"api_key": "key-secret"}, "x-key", "***"),
    ],
)
async def test_credentials_are_used_and_never_seen(
    bench: Any, http_server: str, auth: Any, data: dict[str, str], header: str, expected: str
) -> None:
    bench.credentials["api"] = data
    outcome = await bench.run("http", {"url": f"{http_server}/anything", "auth": auth})
    assert value(outcome)["data"]["headers"][header] == expected
    assert b"secret" not in outcome.result_json


async def test_a_credential_that_is_not_there_is_named(bench: Any, http_server: str) -> None:
    outcome = await bench.run("http", {"url": f"{http_server}/anything", "auth": "nobody"})
    assert "nobody" in outcome.error["message"]


async def test_many_at_once(bench: Any, http_server: str) -> None:
    outcomes = await asyncio.gather(*(bench.run("http", {"url": f"{http_server}/text"}) for _ in range(20)))
    assert {value(outcome)["data"] for outcome in outcomes} == {"plain"}
