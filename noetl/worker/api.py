"""The server, as a worker sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import orjson

from noetl.engine.value import loads
from noetl.errors import NoetlError, NotFound, Unauthorized, Unavailable
from noetl.home import server_socket
from noetl.settings import Secret
from noetl.worker.line import Line, Listener

Json = Any
ANSWER = 60.0
"""Seconds that the server may take for an answer."""
PIECE = 256 * 1024


class Api:
    """A client with connections that are kept. Every call raises Unavailable where the server does not answer.

    `home` is NOETL_HOME: a server that has the same one, and is on loopback, is asked by its socket there.
    """

    def __init__(self, url: str, token: Secret, home: Path) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token.reveal()}"}
        self._session: aiohttp.ClientSession | None = None
        parts = urlsplit(self.url)
        here = server_socket(home, parts.hostname, parts.port or 80)
        self._reports, self._claims, self._parking = (Line(self.url, token, here) for _ in range(3))

    async def open(self) -> None:
        """Make the client."""
        self._session = aiohttp.ClientSession(
            self.url,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=ANSWER, sock_connect=5),
            connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=60),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close its connections."""
        self._reports.close()
        self._claims.close()
        self._parking.close()
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, document: Mapping[str, Json]) -> dict[str, Json]:
        """Send JSON, return JSON."""
        body = await self._request("POST", path, orjson.dumps(document))
        found: dict[str, Json] = orjson.loads(body)
        return found

    async def get(self, path: str) -> Json:
        """Return what a path answers."""
        return orjson.loads(await self._request("GET", path, None))

    async def put(self, path: str, body: bytes) -> None:
        """Send bytes."""
        await self._request("PUT", path, body)

    async def download(self, path: str, file: Path) -> None:
        """Write what a path answers into a file, piece by piece."""
        assert self._session is not None
        patience = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=ANSWER)
        try:
            async with self._session.get(path, timeout=patience) as response:
                if response.status >= 400:
                    raise self._error(response.status, await response.read())
                with file.open("wb") as written:
                    async for piece in response.content.iter_chunked(PIECE):
                        written.write(piece)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._away(error) from error

    async def report(self, header: Mapping[str, Json], blobs: Sequence[bytes], listener: Listener) -> dict[str, Json]:
        """Send a report: the header's line, then the results."""
        return await self._over(self._reports, "/api/worker/report", b"".join((orjson.dumps(header), b"\n", *blobs)), listener)

    async def claim(self, question: Mapping[str, Json]) -> dict[str, Json]:
        """Ask for commands."""
        return await self._over(self._claims, "/api/worker/claim", orjson.dumps(question))

    async def park(self, question: Mapping[str, Json], listener: Listener) -> dict[str, Json]:
        """Wait at the server for a command that is yet to be issued."""
        return await self._over(self._parking, "/api/worker/claim", orjson.dumps(question), listener)

    async def credential(self, name: str) -> Json:
        """Return a credential's data; raise NotFound if there is none."""
        return (await self.get(f"/api/credentials/{quote(name, safe='')}?include_data=true"))["data"]

    async def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        assert self._session is not None
        try:
            async with self._session.request(method, path, data=body) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._away(error) from error
        if response.status >= 400:
            raise self._error(response.status, raw)
        return raw

    def _away(self, error: BaseException) -> Unavailable:
        return Unavailable(f"the server at {self.url} does not answer: {str(error) or type(error).__name__}", "see: noetl server status")

    async def _over(self, line: Line, path: str, body: bytes, listener: Listener | None = None) -> dict[str, Json]:
        status, raw = await line.post(path, body, ANSWER, listener)
        if status >= 400:
            raise self._error(status, raw)
        found: dict[str, Json] = loads(raw)
        return found

    def _error(self, status: int, raw: bytes) -> NoetlError:
        if status == 401:
            return Unauthorized.at(self.url)
        try:
            told = orjson.loads(raw)["error"]
            message, hint, code = told["message"], told.get("hint", ""), told["code"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            message, hint, code = f"the server answered {status}", "", "http"
        kinds: dict[int, type[NoetlError]] = {404: NotFound, 503: Unavailable, 502: Unavailable, 504: Unavailable}
        return kinds.get(status, NoetlError)(message, hint, code=code)
