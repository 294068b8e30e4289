"""A secret's value is found nowhere but in the tool call that uses it (X2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
from live import Live, ask, processes_of
from stories import HEAD
from web_routes import Web, serving

from noetl.settings import Postgres

Json = Any
CANARY = "canary-7f3a9e-Secret"
"""Looked for as it is, in base64, and in hexadecimal."""


@pytest.fixture(scope="module")
def watched(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    """A platform of its own, so that all that it has written can be searched."""
    with make_live({"NOETL_LOG_LEVEL": "DEBUG"}) as one:
        one.server()
        one.worker()
        yield one


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serving(tmp_path_factory.mktemp("files")) as one:
        yield one


def tools(outside: Postgres, web: Web) -> dict[str, dict[str, Json]]:
    """Return a tool of each kind that uses the secret, in ways in which it could get out."""
    return {
        "http header": {"kind": "http", "url": f"{web.url}/anything", "auth": {"source": "credential", "type": "bearer", "key": "token"}},
        "http echoed": {"kind": "http", "method": "POST", "url": f"{web.url}/anything", "auth": "token", "json": {"a": 1}},
        "http failing": {"kind": "http", "url": f"{web.url}/status/500", "auth": "token"},
        "http unreachable": {"kind": "http", "url": "http://127.0.0.1:1/x", "auth": "token"},
        "postgres": {"kind": "postgres", "auth": "database", "command": "SELECT 1 AS one"},
        "postgres wrong database": {"kind": "postgres", "auth": "nowhere", "command": "SELECT 1"},
        "postgres wrong password": {"kind": "postgres", "auth": "refused", "command": "SELECT 1"},
        "python after http": {"kind": "http", "url": f"{web.url}/anything", "auth": "token"},
    }


NAMES = [
    "http header",
    "http echoed",
    "http failing",
    "http unreachable",
    "postgres",
    "postgres wrong database",
    "postgres wrong password",
    "python after http",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_stays_in_the_call_that_uses_it(watched: Live, outside: Postgres, web: Web, name: str) -> None:
    """X2."""
    data = {"db_host": outside.host, "db_port": outside.port, "db_user": outside.user, "db_name": outside.database}
    ask(outside, f"ALTER ROLE {outside.user} PASSWORD '{CANARY}'")
    try:
        for credential, kind, content in [
            ("token", "bearer", {"token": CANARY, "access_token": CANARY}),
            ("database", "postgres", {**data, "db_password": CANARY}),
            ("nowhere", "postgres", {**data, "db_name": "nowhere", "db_password": CANARY}),
            ("refused", "postgres", {**data, "db_user": "nobody", "db_password": CANARY}),
        ]:
            watched.api.post("/api/credentials", {"name": credential, "type": kind, "data": content})
        tool = tools(outside, web)[name]
        text = HEAD.format(name="secret") + "  - " + json.dumps({"step": "start", "tool": tool, "next": "end"}) + "\n"
        text += (
            "  - "
            + json.dumps({"step": "end", "tool": {"kind": "python", "args": {"a": "{{ start }}"}, "code": "print(a); result = a"}})
            + "\n"
        )
        ended = watched.run(text)
    finally:
        ask(watched_superuser(outside), f"ALTER ROLE {outside.user} PASSWORD '{outside.password.reveal()}'")
    used(name, web, ended)
    found = places(watched, ended["execution_id"])
    assert found == []


@pytest.mark.parametrize(
    "tool",
    [
        {"kind": "python", "code": "import os, sys\ndef main():\n    print(dict(os.environ))\n    return [dict(os.environ), sys.argv]"},
        {"kind": "python", "code": "import os\ndef main():\n    raise ValueError(repr(dict(os.environ)))"},
        {"kind": "python", "code": "result = open('/proc/self/environ', 'rb').read().decode(errors='replace')"},
        {"kind": "python", "args": {"e": "{{ env }}"}, "code": "result = e"},
        {"kind": "shell", "cmds": "env; tr '\\0' '\\n' < /proc/self/environ; tr '\\0' ' ' < /proc/self/cmdline"},
        {"kind": "shell", "cmds": "env >&2; exit 3"},
    ],
)
def test_a_step_sees_no_secret_of_the_platform(watched: Live, tool: dict[str, Json]) -> None:
    """X2, invariant 9."""
    ended = watched.run(HEAD.format(name="environment") + "  - " + json.dumps({"step": "start", "tool": tool}) + "\n")
    seen = json.dumps([ended["result"], ended["error"]])
    platform = [watched.token, watched.postgres.password, watched.playbooks.password, watched.nats_url]
    for secret in [one.reveal() for one in platform] + [watched.nats_url.reveal().split("//")[1].split("@")[0]]:
        assert secret not in seen
        assert secret not in "".join(content(running.log) for running in watched.processes)


def watched_superuser(outside: Postgres) -> Postgres:
    """Return the way in with the changed password."""
    from dataclasses import replace

    from noetl.settings import Secret

    return replace(outside, password=Secret(CANARY))


def used(name: str, web: Web, ended: dict[str, Json]) -> None:
    """Check that the secret has really been there."""
    if name in ("http header", "http echoed", "http failing"):
        assert web.seen[-1]["headers"]["authorization"] == f"Bearer {CANARY}"
    if name == "postgres":
        assert ended["status"] == "COMPLETED", ended["error"]
    if name in ("http failing", "http unreachable", "python failing", "postgres wrong database", "postgres wrong password"):
        assert ended["status"] == "FAILED"


def places(live: Live, execution_id: str) -> list[str]:
    """Return where the secret is found: tables, files, answers, streams, processes."""
    import base64

    forms = [CANARY, base64.b64encode(CANARY.encode()).decode(), CANARY.encode().hex(), CANARY[:-1]]

    def has(text: str) -> bool:
        return any(form in text for form in forms)

    found = []
    for row in live.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'noetl' AND table_type = 'BASE TABLE'"):
        table = row["table_name"]
        texts = live.sql(f"SELECT t::text AS text FROM noetl.{table} t")
        found += [f"table {table}" for one in texts if has(one["text"])]
    for file in live.home.rglob("*"):
        if file.is_file() and has(content(file)):
            found.append(f"file {file}")
    for path in (f"/api/executions/{execution_id}", f"/api/executions/{execution_id}/status", f"/api/executions/{execution_id}/steps"):
        if has(json.dumps(live.api.get(path))):
            found.append(path)
    messages = [message.data for message in live.api.stream(f"/api/executions/{execution_id}/stream")]
    found += ["stream"] if has(json.dumps(messages)) else []
    for process in processes_of(live.home):
        try:
            seen = " ".join([*process.cmdline(), *process.environ().values()])
        except psutil.Error:
            continue
        found += [f"process {process.pid}"] if has(seen) else []
    return found


def content(file: Path) -> str:
    """Return a file's text, empty where it has gone."""
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
