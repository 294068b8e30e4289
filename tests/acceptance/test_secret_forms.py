"""A secret that is hard to recognise again, passed through everything that can be given one, is found nowhere (X2)."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import shlex
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import nats
import psutil
import pytest
from live import Live, processes_of
from stories import HEAD
from web_routes import Web, serving

from noetl.settings import Postgres

Json = Any
PLATFORM = {"NOETL_LOG_LEVEL": "DEBUG", "NOETL_VAR_CANARY": 'cAnary-5e1d"0b\\Of&the/env+x='}
STORED = "cAnary-88c2'7d$the  Store?9~"
SECRETS = (PLATFORM["NOETL_VAR_CANARY"], STORED)
CHILD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: secret_child, path: tests/secret_child}
workload: {given: ""}
workflow:
  - step: start
    tool: {kind: python, args: {given: "{{ workload.given }}"}, code: "def main(given):\\n    print(given)\\n    return given"}
"""
KEYCHAIN = """\
keychain:
  - {name: env, kind: secret_manager, provider: env, map: {value: NOETL_VAR_CANARY}}
  - {name: stored, kind: credential, credential: forms}
  - {name: built, kind: static, map: {pair: "me:{{ keychain.env.value }}"}}
"""
BOTH = {"a": "{{ keychain.env.value }}", "b": "{{ keychain.stored.token }}", "c": "{{ keychain.built.pair }}"}
TOLD = """
def main(a, b, c):
    import base64, html, json, shlex, sys
    from urllib.parse import quote
    told = []
    for one in (a, b, c):
        told += [one, json.dumps(one), repr(one), quote(one), html.escape(one), shlex.quote(one), " ".join(one.split()), one.encode().hex()]
        told += [base64.b64encode(("x" * n + one + "y").encode()).decode() for n in range(3)]
        told += [base64.urlsafe_b64encode(one.encode()).decode(), {one: [one]}]
    print(told)
    print(json.dumps(told), file=sys.stderr)
"""


def steps(web: Web) -> dict[str, dict[str, Json]]:
    """Return steps that use the secrets, in ways in which they could get out."""
    url = f"{web.url}/anything"
    sink = {"tool": {"kind": "python", "code": "def main(data, a):\n    print(data, a)\n    raise ValueError(a)"}, "args": BOTH}
    retried = {"when": "{{ event.name == 'call.error' and attempt < 2 }}", "then": {"retry": {"max_attempts": 2, "initial_delay": 0.01}}}
    return {
        "http": {"tool": {"kind": "http", "url": url, "params": BOTH, "headers": {"X-A": BOTH["a"]}, "auth": "forms"}},
        "http failing": {"tool": {"kind": "http", "url": f"{web.url}/get/{BOTH['a']}", "params": BOTH}},
        "http basic": {"tool": {"kind": "http", "url": url, "headers": {"Authorization": "Basic {{ keychain.built.pair | b64encode }}"}}},
        "postgres": {"tool": {"kind": "postgres", "auth": "outside", "args": BOTH, "command": f"SELECT '{BOTH['a']}'::text AS a"}},
        "postgres failing": {"tool": {"kind": "postgres", "auth": "outside", "command": f"SELECT wrong, '{BOTH['a']}' FROM nowhere"}},
        "postgres cut": {"tool": {"kind": "postgres", "auth": "outside", "command": f"SELECT wrong, '{'x' * 70}{BOTH['a']}' FROM nowhere"}},
        "postgres key": {
            "tool": {
                "kind": "postgres",
                "auth": "outside",
                "command": f"CREATE TEMP TABLE t (a text PRIMARY KEY); INSERT INTO t VALUES ('{BOTH['a']}'), ('{BOTH['a']}')",
            }
        },
        "shell": {"tool": {"kind": "shell", "env": {"S": BOTH["a"], "T": BOTH["b"]}, "cmd": 'echo "$S $T"; printf %s "$S" | base64 -w0'}},
        "shell failing": {"tool": {"kind": "shell", "env": {"S": BOTH["a"]}, "cmd": 'echo "$S" >&2; env; exit 3'}},
        "shell cut": {"tool": {"kind": "shell", "cmd": f": {'x' * 100} {BOTH['b']}; exit 3"}},
        "python": {"tool": {"kind": "python", "args": BOTH, "code": TOLD + "    return told"}},
        "python failing": {"tool": {"kind": "python", "args": BOTH, "code": TOLD + "    raise ValueError(told)"}},
        "python cut": {"tool": {"kind": "python", "code": f'def main():\n    raise ValueError(len("{"x" * 155}{BOTH["b"]}"))'}},
        "python reported": {
            "tool": {"kind": "python", "args": BOTH, "code": TOLD + "    return {'status': 'error', 'error': a, 'all': told}"}
        },
        "python large": {"tool": {"kind": "python", "args": BOTH, "code": TOLD + "    return told * 300"}},
        "python killed": {"tool": {"kind": "python", "timeout": 1, "args": BOTH, "code": TOLD + "    import time\n    time.sleep(60)"}},
        "python dead": {"tool": {"kind": "python", "args": BOTH, "code": TOLD + "    import os\n    sys.stdout.flush()\n    os.abort()"}},
        "retried": {"tool": {"kind": "python", "args": BOTH, "code": TOLD + "    raise ValueError(told)"}, "case": [retried]},
        "sink": {
            "tool": {"kind": "python", "code": "result = 1"},
            "case": [{"when": "{{ event.name == 'call.done' }}", "then": {"sink": sink}}],
        },
    }


WORKING = ("http", "http basic", "postgres", "shell", "python", "python large")
FAILING = (
    "http failing", "postgres failing", "postgres cut", "postgres key",
    "shell failing", "shell cut", "python failing", "python cut", "python reported",
    "python killed", "python dead", "retried", "sink",
)  # fmt: skip
"""`cut`: what tells of the failure shows the beginning of the secret only."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serving(tmp_path_factory.mktemp("files")) as one:
        yield one


@pytest.mark.parametrize("name", [*WORKING, *FAILING])
def test_no_form_of_a_secret_gets_out(platform: Live, outside: Postgres, web: Web, embedded_home: Path, name: str) -> None:
    """X2."""
    store(platform, outside)
    platform.register(CHILD)
    child = {"step": "child", "tool": {"kind": "playbook", "path": "tests/secret_child", "args": {"given": "{{ start }}"}}}
    text = HEAD.format(name="secret_forms").replace("workflow:", KEYCHAIN + "workflow:")
    text += "".join(f"  - {json.dumps(step)}\n" for step in ({"step": "start", **steps(web)[name]}, child))
    with watching(platform) as seen:
        ended = platform.run(text)
    assert (ended["status"] == "COMPLETED") is (name in WORKING), ended["error"]
    assert found(platform, embedded_home, seen) == []


def store(live: Live, outside: Postgres) -> None:
    """Store the credentials."""
    data = {"db_host": outside.host, "db_port": outside.port, "db_user": outside.user, "db_name": outside.database}
    for name, kind, content in (
        ("forms", "bearer", {"token": STORED, "access_token": STORED}),
        ("outside", "postgres", {**data, "db_password": outside.password.reveal()}),
    ):
        live.api.post("/api/credentials", {"name": name, "type": kind, "data": content})


def forms() -> set[str]:
    """Return what is looked for: the secrets, in what they may have become, and what stands at their beginnings."""
    wanted: set[str] = {one[:9] for one in SECRETS}
    for one in SECRETS:
        raw = one.encode()
        wanted |= {
            json.dumps(one)[1:-1],
            repr(one)[1:-1],
            quote(one, safe="")[:14],
            quote_plus(one)[:14],
            html.escape(one),
            shlex.quote(one),
        }
        wanted |= {raw.hex()[:24], base64.b64encode(raw).decode()[:20], base64.urlsafe_b64encode(raw).decode()[:20]}
        wanted |= {base64.b64encode(b"x" + raw).decode()[2:22], base64.b64encode(b"xx" + raw).decode()[3:23]}
        wanted |= {base64.b64encode(b"me:" + raw).decode()[4:24]}
    return wanted


FORMS = forms()


def has(text: str) -> bool:
    """Whether a text has a secret."""
    return any(form in text for form in FORMS)


@contextmanager
def watching(live: Live) -> Iterator[set[str]]:
    """See the command lines of all that runs meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for process in processes_of(live.home):
                try:
                    seen.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue
            time.sleep(0.02)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def found(live: Live, services: Path, seen: set[str]) -> list[str]:
    """Return where a secret is: tables, large objects, pieces of results, files, streams, command lines."""
    places = ["a command line" for line in seen if has(line)]
    for row in live.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'noetl' AND table_type = 'BASE TABLE'"):
        texts = live.sql(f"SELECT t::text AS text FROM noetl.{row['table_name']} t")
        places += [f"table {row['table_name']}: {one['text'][:500]}" for one in texts if has(one["text"])]
    pieces: dict[tuple[Json, ...], str] = {}
    for row in live.sql("SELECT execution_id, command_id, fence, body FROM noetl.chunk ORDER BY 1, 2, 3, number"):
        key = (row["execution_id"], row["command_id"], row["fence"])
        pieces[key] = pieces.get(key, "") + zlib.decompress(row["body"]).decode()
    places += [f"pieces of {key}" for key, text in pieces.items() if has(text)]
    assert live.sql("SELECT count(*) AS n FROM pg_largeobject_metadata") == [{"n": 0}]
    for file in [*live.home.rglob("*"), *services.rglob("*.log")]:
        text = content(file)
        places += [f"file {file}: {line[:300]}" for line in text.splitlines() if has(line)]
    places += [f"stream: {text[:300]}" for text in asyncio.run(messages(live)) if has(text)]
    for kind in ("events", "steps", "status"):
        for row in live.api.get("/api/executions", limit=5)["executions"]:
            text = json.dumps(live.api.get(f"/api/executions/{row['execution_id']}/{kind}"), ensure_ascii=False)
            places += [f"answer {kind}"] if has(text) else []
    return places


async def messages(live: Live) -> list[str]:
    """Return all that is in the streams of NATS."""
    client = await nats.connect(live.nats_url.reveal())
    try:
        manager = client.jsm()
        texts = []
        for info in await manager.streams_info():
            for number in range(max(info.state.first_seq, info.state.last_seq - 500), info.state.last_seq + 1):
                try:
                    message = await manager.get_msg(info.config.name or "", number)
                except nats.errors.Error:
                    continue
                texts.append(f"{message.subject} {message.headers} {(message.data or b'').decode(errors='replace')}")
        return texts
    finally:
        await client.close()


def content(file: Path) -> str:
    """Return a file's text, empty where it has gone."""
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
