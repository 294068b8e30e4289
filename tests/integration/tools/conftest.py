"""A sandbox with real processes, a real HTTP server, a real PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from noetl.errors import NotFound
from noetl.home import Embedded
from noetl.playbook.model import Tool
from noetl.worker.sandbox import Job, Sandbox

_numbers = itertools.count(1)


class Bench:
    """A sandbox, and what its steps may ask for."""

    def __init__(self, workdir: Path, size: int = 2, memory: int = 1024**3, max_result: int = 1024**2) -> None:
        self.credentials: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.fetched: list[tuple[str, str]] = []
        self.workdir = workdir
        environ = {**os.environ, "NOETL_API_TOKEN": "token", "POSTGRES_PASSWORD": "word", "PGHOST": "nowhere", "NATS_URL": "nats://"}
        self.sandbox = Sandbox(size=size, memory=memory, workdir=workdir, environ=environ, fetch=self._fetch, max_result=max_result)

    def job(self, kind: str, config: dict[str, Any], **more: Any) -> Job:
        """Return a job of its own."""
        number = next(_numbers)
        args = more.pop("args", {})
        more.setdefault("idempotency_key", f"e1:{number}")
        more.setdefault("timeout", 30.0)
        return Job(key=("e1", number, 1), step=more.pop("step", "work"), tool=Tool(kind, config, args), **more)

    async def run(self, kind: str, config: dict[str, Any], **more: Any) -> Any:
        """Run one step and return its outcome."""
        return await self.sandbox.run(self.job(kind, config, **more))

    async def python(self, code: str, **more: Any) -> Any:
        """Run python code and return the outcome."""
        return await self.run("python", {"code": code}, **more)

    async def _fetch(self, job: Job, kind: str, name: str) -> Any:
        self.fetched.append((kind, name))
        source = self.credentials if kind == "credential" else self.values
        if name not in source:
            raise NotFound(f"no {kind} {name!r}")
        found = source[name]
        return found() if callable(found) else found


@pytest.fixture
async def make_bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    benches: list[Bench] = []

    async def make(**options: Any) -> Bench:
        bench = Bench(tmp_path / f"work{len(benches)}", **options)
        benches.append(bench)
        await bench.sandbox.start()
        return bench

    yield make
    for bench in benches:
        await bench.sandbox.close()


@pytest.fixture
async def bench(make_bench: Callable[..., Any]) -> Bench:
    made: Bench = await make_bench()
    return made


@pytest.fixture
async def http_server() -> AsyncIterator[str]:
    async def anything(request: web.Request) -> web.Response:
        form = dict(await request.post()) if "form" in request.content_type else {}
        body = await request.read()
        document = {
            "method": request.method,
            "query": [[name, value] for name, value in request.query.items()],
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": body.decode("utf-8", "replace"),
            "form": {name: value for name, value in form.items() if isinstance(value, str)},
            "peer": request.transport.get_extra_info("peername")[1] if request.transport else None,
        }
        return web.json_response(document)

    async def status(request: web.Request) -> web.Response:
        return web.json_response({"why": "because"}, status=int(request.match_info["code"]))

    async def text(_: web.Request) -> web.Response:
        return web.Response(text="plain", content_type="text/plain")

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound("/text")

    application = web.Application()
    application.router.add_route("*", "/anything", anything)
    application.router.add_get("/status/{code}", status)
    application.router.add_get("/text", text)
    application.router.add_get("/slow", slow)
    application.router.add_get("/moved", moved)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def database(bench: Any, playbooks_database: dict[str, Any]) -> Any:
    """A bench whose steps know the playbooks' database, as `pg` and as where sinks go."""
    bench.credentials |= {"pg": playbooks_database, "@playbooks": playbooks_database}
    return bench


@pytest.fixture(scope="session")
def playbooks_database(embedded: Embedded) -> dict[str, Any]:
    """The database for playbooks' own steps, as the fields of a credential."""
    assert embedded.playbooks is not None
    way_in = embedded.playbooks
    return {
        "db_host": way_in.host,
        "db_port": way_in.port,
        "db_user": way_in.user,
        "db_password": way_in.password.reveal(),
        "db_name": way_in.database,
    }
