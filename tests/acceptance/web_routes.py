"""The HTTP server that the shared playbooks talk to, in a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Json = Any
ITEMS = 35


@dataclass
class Web:
    """What was asked so far, and the counters of the routes that fail at first."""

    files: Path
    url: str = ""
    seen: list[dict[str, Json]] = field(default_factory=list)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def forget(self) -> None:
        """Begin anew."""
        self.seen.clear()
        self.counts.clear()

    def asked(self, path: str, method: str | None = None, **query: str) -> list[dict[str, Json]]:
        """Return the requests for a path."""
        return [
            one
            for one in self.seen
            if one["path"] == path
            and (method is None or one["method"] == method)
            and all(one["args"].get(name) == str(value) for name, value in query.items())
        ]

    def application(self) -> web.Application:
        """Return the routes."""
        application = web.Application(middlewares=[self._watch])
        add = application.router.add_route
        for path in ("/get", "/post", "/anything"):
            add("*", path, self._echo)
        add("*", "/status/{code}", self._status)
        add("GET", "/api/v1/assessments", self._assessments)
        add("GET", "/api/v1/users", self._page_of_users)
        add("GET", "/api/v1/events", self._page_of_events)
        add("GET", "/api/v1/flaky", self._flaky)
        add("GET", "/flaky-seq", self._flaky_sequence)
        add("GET", "/slow", self._slow)
        add("GET", "/v1/forecast", self._forecast)
        add("GET", "/posts", self._posts)
        add("GET", "/users", self._users)
        add("GET", "/users/{number}", self._user)
        add("GET", "/items/{number}", self._item)
        add("GET", "/repos/{owner}/{name}", self._repository)
        add("GET", "/api/rest_v1/page/summary/{title}", self._summary)
        add("GET", "/protected", self._protected)
        add("GET", "/files/{name}", self._file)
        return application

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        kind = request.content_type
        # A body in parts can be read once only.
        parts = dict(await request.post()) if kind == "multipart/form-data" else None
        text = await request.text() if parts is None else ""
        document = None
        if kind == "application/json" and text:
            with contextlib.suppress(ValueError):
                document = json.loads(text)
        form = parts or (dict(await request.post()) if kind == "application/x-www-form-urlencoded" else {})
        self.seen.append(
            {
                "method": request.method,
                "path": request.path,
                "args": dict(request.query),
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "json": document,
                "form": form,
                "data": text,
                "url": str(request.url),
            }
        )
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _echo(self, request: web.Request) -> web.Response:
        return web.json_response(self.seen[-1])

    async def _status(self, request: web.Request) -> web.Response:
        code = int(request.match_info["code"])
        return web.json_response({"status": code}, status=code)

    async def _assessments(self, request: web.Request) -> web.Response:
        page, size = _number(request, "page", 1), _number(request, "pageSize", 10)
        rows = [{"id": n, "name": f"assessment {n}", "score": n % 10} for n in _page((page - 1) * size, size)]
        return web.json_response({"data": rows, "paging": {"hasMore": page * size < ITEMS, "page": page, "pageSize": size, "total": ITEMS}})

    async def _page_of_users(self, request: web.Request) -> web.Response:
        offset, limit = _number(request, "offset", 0), _number(request, "limit", 10)
        rows = [{"id": n, "username": f"user{n}", "email": f"user{n}@example.com"} for n in _page(offset, limit)]
        return web.json_response({"users": rows, "has_more": offset + limit < ITEMS, "offset": offset, "limit": limit, "total": ITEMS})

    async def _page_of_events(self, request: web.Request) -> web.Response:
        cursor, limit = request.query.get("cursor"), _number(request, "limit", 10)
        page = int(base64.b64decode(cursor)) if cursor else 1
        rows = [{"id": n, "type": "event"} for n in _page((page - 1) * limit, limit)]
        following = base64.b64encode(str(page + 1).encode()).decode() if page * limit < ITEMS else None
        return web.json_response({"events": rows, "next_cursor": following, "limit": limit})

    async def _flaky(self, request: web.Request) -> web.Response:
        page, failing = request.query.get("page", "1"), request.query.get("fail_on", "").split(",")
        key = ("flaky", request.query.get("key", ""), page)
        self.counts[key] += 1
        if page in failing and self.counts[key] == 1:
            return web.json_response({"error": "flaky"}, status=500)
        size = 10
        rows = [{"id": n, "value": n * 10} for n in _page((int(page) - 1) * size, size)]
        return web.json_response({"data": rows, "paging": {"hasMore": int(page) * size < ITEMS, "page": int(page), "pageSize": size}})

    async def _flaky_sequence(self, request: web.Request) -> web.Response:
        key = ("sequence", request.query.get("key", ""))
        self.counts[key] += 1
        if self.counts[key] <= _number(request, "fails", 0):
            return web.json_response({"error": "not yet"}, status=503)
        return web.json_response({"ok": True, "attempt": self.counts[key]})

    async def _slow(self, request: web.Request) -> web.Response:
        milliseconds = _number(request, "ms", 100)
        await asyncio.sleep(milliseconds / 1000)
        return web.json_response({"slept_ms": milliseconds, "tag": request.query.get("tag")})

    async def _forecast(self, request: web.Request) -> web.Response:
        now = 30 - abs(float(request.query.get("latitude", "0"))) / 3
        hourly = [-5 + 0.25 * hour for hour in range(24)]
        return web.json_response(
            {
                "current": {"temperature_2m": now},
                "current_weather": {"temperature": now, "windspeed": 5.0},
                "hourly": {"temperature_2m": hourly},
            }
        )

    async def _posts(self, request: web.Request) -> web.Response:
        rows = [{"userId": (n - 1) // 10 + 1, "id": n, "title": f"title {n}", "body": f"body of {n}\nit's long"} for n in range(1, 101)]
        return web.json_response(rows[: _number(request, "_limit", 100)])

    async def _users(self, request: web.Request) -> web.Response:
        return web.json_response([_user(n) for n in range(1, 11)])

    async def _user(self, request: web.Request) -> web.Response:
        return web.json_response(_user(int(request.match_info["number"])))

    async def _item(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        return web.json_response({"id": number, "name": f"item {number}", "price": 2.5 * number}, status=200 if number <= 100 else 404)

    async def _repository(self, request: web.Request) -> web.Response:
        owner, name = request.match_info["owner"], request.match_info["name"]
        return web.json_response({"full_name": f"{owner}/{name}", "name": name, "stargazers_count": 42, "language": "Python"})

    async def _summary(self, request: web.Request) -> web.Response:
        title = request.match_info["title"]
        extract = f"{title} is a thing that a summary is about."
        return web.json_response({"title": title, "extract": extract, "description": "a thing", "timestamp": "2025-01-02T03:04:05Z"})

    async def _protected(self, request: web.Request) -> web.Response:
        if request.headers.get("X-API-Key") != "key-123":
            return web.json_response({"error": "who are you?"}, status=401)
        return web.json_response({"ok": True, "who": "key-123"[:3]})

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(text=(self.files / Path(request.match_info["name"]).name).read_text())


@contextlib.contextmanager
def serving(files: Path) -> Iterator[Web]:
    """Serve the routes on a port of 127.0.0.1 until the end of the block."""
    one = Web(files)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(one.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def work() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=work, name="web")
    thread.start()
    assert ready.wait(10)
    try:
        yield one
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _number(request: web.Request, name: str, default: int) -> int:
    return int(request.query.get(name, default))


def _page(start: int, size: int) -> range:
    return range(start + 1, min(start + size, ITEMS) + 1)


def _user(number: int) -> dict[str, Json]:
    return {
        "id": number,
        "name": f"User {number}",
        "username": f"user{number}",
        "email": f"user{number}@example.com",
        "status": "active" if number % 2 else "inactive",
        "created_at": "2025-01-01T00:00:00Z",
        "address": {"city": f"City {number}"},
        "company": {"name": f"Company {number}"},
    }
