"""Scripts from elsewhere, and the values that a page lays over a request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from outcomes import value


@pytest.fixture
async def files() -> AsyncIterator[str]:
    async def given(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer canary-script":
            return web.Response(status=401)
        texts = {"job.py": "def main(a):\n    return a + 1\n", "job.sql": "SELECT {{ n }} AS n"}
        return web.Response(text=texts[request.match_info["name"]])

    application = web.Application()
    application.router.add_get("/files/{name}", given)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/files/"
    await runner.cleanup()


async def test_scripts_over_http(bench: Any, files: str) -> None:
    bench.credentials["api"] = {"token": "canary-script"}
    script: dict[str, Any] = {"uri": f"{files}{{{{ name }}}}.py", "source": {"type": "http", "auth": "api"}}
    assert value(await bench.run("python", {"script": script}, args={"a": 1}, scope={"name": "job"})) == 2
    script = {"uri": "job.sql", "source": {"type": "http", "endpoint": files, "headers": {"Authorization": "Bearer canary-script"}}}
    assert value(await bench.run("duckdb", {"script": script, "database": ":memory:"}, scope={"n": 3})) == [{"n": 3}]
    outcome = await bench.run("python", {"script": {"uri": f"{files}job.py", "source": {"type": "http"}}})
    assert outcome.error["status"] == 401


async def test_inline_scripts(bench: Any) -> None:
    script = {"uri": "x.py", "source": {"type": "inline", "code": "def main(a):\n    return [a, {{ n }}]"}}
    assert value(await bench.run("python", {"script": script, "code": "result = 0"}, args={"a": 1}, scope={"n": 2})) == [1, 2]
    assert (await bench.run("python", {"script": {"source": {"type": "moon"}}})).error["type"] == "config"


async def test_a_page_is_asked_for_with_its_own_values(bench: Any, http_server: str) -> None:
    config = {
        "endpoint": f"{http_server}/anything?page=1&kept={{{{ n }}}}",
        "params": {"size": "{{ n }}", "page": 1},
        "headers": {"X-A": "a", "X-B": "b"},
    }
    overrides = {"params": {"page": 2, "q": "{{ n }}"}, "headers": {"x-b": "c"}}
    sent = value(await bench.run("http", config, scope={"n": 5}, overrides=overrides))["data"]
    assert sent["query"] == [["kept", "5"], ["size", "5"], ["page", "2"], ["q", "{{ n }}"]]
    assert (sent["headers"]["x-a"], sent["headers"]["x-b"]) == ("a", "c")


async def test_a_page_has_its_own_address_and_body(bench: Any, http_server: str) -> None:
    config = {"endpoint": f"{http_server}/status/500", "method": "POST", "payload": {"cursor": 0}}
    overrides = {"url": f"{http_server}/anything", "body": {"cursor": 9}, "method": "PUT"}
    sent = value(await bench.run("http", config, overrides=overrides))["data"]
    assert (sent["method"], orjson.loads(sent["body"])) == ("PUT", {"cursor": 9})
