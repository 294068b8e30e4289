"""The keychain, `token()` and the secrets tool: used, and never seen."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from outcomes import value

from noetl.worker.sandbox import Failed


class TokenServer:
    """Gives tokens, counts how many, and says what a protected page was asked with."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []

    async def token(self, request: web.Request) -> web.Response:
        body = await request.json() if request.content_type == "application/json" else dict(await request.post())
        self.asked.append(body)
        if body.get("client_secret") != "canary-client":
            return web.json_response({"error": f"not {body.get('client_secret')}"}, status=401)
        answer = {"access_token": f"canary-token-{len(self.asked)}", "token_type": "Bearer", "expires_in": 3600}
        if body.get("short"):
            del answer["expires_in"]
        return web.json_response(answer)

    async def protected(self, request: web.Request) -> web.Response:
        self.authorizations.append(request.headers.get("Authorization"))
        return web.json_response({"seen": request.headers.get("Authorization"), "key": request.headers.get("X-API-Key")})


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    application = web.Application()
    application.router.add_post("/token", server.token)
    application.router.add_get("/protected", server.protected)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


def entry(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "config": config}


async def test_static_values_reach_the_server_and_nothing_else(bench: Any, tokens: TokenServer) -> None:
    keychain = (entry("api", "static", scope="local", map={"key": "{{ workload.key }}", "deep": {"list": ["canary-deep"]}}),)
    config = {"url": f"{tokens.url}/protected", "headers": {"X-API-Key": "{{ keychain.api.key }}"}}
    outcome = await bench.run("http", config, keychain=keychain, scope={"workload": {"key": "canary-key"}})
    assert value(outcome)["data"]["key"] == "***"
    code = "def main(k, context):\n    print(k)\n    return [k, context['keychain']['api'], repr(context['keychain'])]"
    outcome = await bench.run(
        "python", {"code": code}, args={"k": "{{ keychain.api.key }}"}, keychain=keychain, scope={"workload": {"key": 1}}
    )
    assert value(outcome) == [1, {"key": 1, "deep": {"list": ["***"]}}, "Keychain(api)"]


async def test_entries_are_built_when_they_are_used_from_those_ahead_of_them(bench: Any) -> None:
    bench.credentials["stored"] = {"token": "canary-stored", "db_host": "host.example"}
    keychain = (
        entry("broken", "credential", credential="nowhere"),
        entry("cred", "credential_ref", ref="stored"),
        entry("b", "bearer", token="{{ keychain.cred.token }}-x"),
        entry("early", "static", map={"late": "{{ keychain.later.a | default('none') }}"}),
        entry("later", "static", map={"a": "canary-later"}),
    )
    code = "result = [len(args['t']), args['host'], args['type'], args['late'], args['undefined'], args['t']]"
    args = {
        "t": "{{ keychain.b.access_token }}",
        "type": "{{ keychain.b.token_type }}",
        "host": "{{ keychain.cred.db_host }}",
        "late": "{{ keychain.early.late == 'none' }}",
        "undefined": "{{ keychain.typo.x | default('-') }}",
    }
    outcome = await bench.run("python", {"code": code}, args=args, keychain=keychain)
    assert value(outcome) == [15, "host.example", "Bearer", True, "-", "***"]
    assert ("credential", "nowhere") not in bench.fetched
    outcome = await bench.run("python", {"code": code}, args={"t": "{{ keychain.broken.x }}"}, keychain=keychain)
    assert isinstance(outcome, Failed)
    assert "broken" in outcome.error["message"]
    assert "nowhere" in outcome.error["message"]


@pytest.mark.parametrize("form", ["data", "json"])
async def test_a_token_is_asked_for_once(make_bench: Any, tokens: TokenServer, form: str) -> None:
    bench = await make_bench(size=1)
    body = {"grant_type": "client_credentials", "client_secret": "{{ keychain.c.secret }}"}
    keychain = (entry("c", "static", map={"secret": "canary-client"}), entry("o", "oauth2", endpoint=f"{tokens.url}/token", **{form: body}))
    config = {"url": f"{tokens.url}/protected", "headers": {"Authorization": "Bearer {{ keychain.o.access_token }}"}}
    for _ in range(3):
        outcome = await bench.run("http", config, keychain=keychain)
        assert value(outcome)["data"]["seen"] == "Bearer ***"
        assert b"canary" not in outcome.result_json
    assert tokens.authorizations == ["Bearer canary-token-1"] * 3
    assert tokens.asked == [{"grant_type": "client_credentials", "client_secret": "canary-client"}]


async def test_a_token_without_a_lifetime_is_not_kept_and_a_failure_shows_no_secret(make_bench: Any, tokens: TokenServer) -> None:
    bench = await make_bench(size=1)
    short = (entry("o", "oauth2", endpoint=f"{tokens.url}/token", json={"client_secret": "canary-client", "short": True}),)
    code = "def main(context):\n    return [context['keychain']['o']['access_token'] for _ in range(2)]"
    for count in (1, 2):
        assert value(await bench.python(code, keychain=short)) == ["***", "***"]
        assert len(tokens.asked) == count
    nested = "import asyncio\nasync def main(context):\n    return len(context['keychain']['o']['access_token'])"
    assert value(await bench.python(nested, keychain=short)) == 14
    wrong = (entry("o", "oauth2", endpoint=f"{tokens.url}/token", data={"client_secret": "canary-wrong"}),)
    outcome = await bench.python(code, keychain=wrong)
    assert isinstance(outcome, Failed)
    assert "401" in outcome.error["message"]
    assert "canary" not in str(outcome)
    outcome = await bench.run("http", {"url": tokens.url, "headers": {"A": "{{ keychain.o.access_token }}"}}, keychain=wrong)
    assert outcome.error["message"].startswith("keychain entry o: HTTP 401 from POST ")
    assert (outcome.error["type"], outcome.error["status"], outcome.error["data"]) == ("http_status", 401, {"error": "not ***"})


async def test_the_token_function(bench: Any, tokens: TokenServer) -> None:
    bench.credentials |= {"api": {"access_token": "canary-access"}, "empty": {"user": "x"}}
    config = {"url": f"{tokens.url}/protected", "headers": {"Authorization": "Bearer {{ token('api') }}"}}
    assert value(await bench.run("http", config))["data"]["seen"] == "Bearer ***"
    assert tokens.authorizations == ["Bearer canary-access"]
    outcome = await bench.run("http", {**config, "headers": {"Authorization": "{{ token('empty') }}"}})
    assert "no token" in outcome.error["message"]
    assert value(await bench.python("result = args['t']", args={"t": "{{ token }}"}, scope={"token": "own"})) == "own"


async def test_a_sink_uses_the_keychain(bench: Any) -> None:
    keychain = (entry("api", "static", map={"key": "canary-key"}),)
    written = {"data": {"k": "{{ keychain.api.key }}"}, "has_data": True}
    outcome = await bench.run("python", {"code": "result = [len(k), k]"}, sink=written, scope={"this": 1}, keychain=keychain)
    assert value(outcome) == [10, "***"]


async def test_the_body_of_a_failure_shows_no_secret(bench: Any, tokens: TokenServer) -> None:
    keychain = (entry("api", "static", map={"key": "canary-wrong"}),)
    config = {"url": f"{tokens.url}/token", "method": "POST", "json": {"client_secret": "{{ keychain.api.key }}"}}
    outcome = await bench.run("http", config, keychain=keychain)
    assert isinstance(outcome, Failed)
    assert (outcome.error["status"], outcome.error["data"]) == (401, {"error": "not ***"})
    assert "canary" not in str(outcome)


async def test_errors_and_output_show_no_secret(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    keychain = (entry("api", "static", map={"key": "canary-key", "number": 12345678}),)
    args = {"k": "{{ keychain.api.key }}", "n": "{{ keychain.api.number }}"}
    with caplog.at_level(logging.INFO):
        outcome = await bench.python("def main(k, n):\n    print(k, n)\n    raise ValueError(f'{k} {n}')", args=args, keychain=keychain)
        dead = await bench.python("import os\ndef main(k):\n    print(k, flush=True)\n    os._exit(3)", args=args, keychain=keychain)
    assert isinstance(dead, Failed)
    assert outcome.error["message"].startswith("ValueError: *** ***")
    assert "canary" not in caplog.text + str(outcome)
    assert "12345678" not in caplog.text


async def test_a_secret_is_in_the_result_and_not_in_the_log(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    scope = {"env": {"MINE": "canary-env"}}
    assert value(await bench.run("secrets", {"provider": "env", "name": "{{ 'MINE' }}"}, scope=scope)) == {"value": "canary-env"}
    outcome = await bench.run("secrets", {"name": "PATH"}, scope=scope)
    assert (outcome.error["type"], "PATH" in outcome.error["message"]) == ("not_found", True)
    assert (await bench.run("secrets", {"provider": "moon", "name": "x"}, scope=scope)).error["type"] == "config"
    assert "canary" not in caplog.text
