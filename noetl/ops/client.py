"""A client of the server's API, on the standard library alone: verbs are to start fast."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from noetl import home
from noetl.errors import Conflict, NoetlError, NotFound, PlaybookError, TooLarge, Unauthorized, Unavailable, UsageError
from noetl.ops import plain_http
from noetl.settings import Secret, Settings

if TYPE_CHECKING:
    import http.client

START_A_SERVER = "start one: noetl server start --init-db (or everything: noetl up)"
PIECE = 256 * 1024
"""Bytes that a large answer is read in."""
_ERRORS: dict[int, type[NoetlError]] = {
    400: UsageError,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: PlaybookError,
    503: Unavailable,
}


@dataclass(frozen=True)
class Message:
    """One message of an event stream: its name, its id (None where it has none) and its JSON data."""

    event: str
    id: str | None
    data: Any


def server_url(settings: Settings) -> str:
    """Return the URL of the server that the settings mean: theirs, else that of their port."""
    if settings.server_url:
        return settings.server_url.rstrip("/")
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


class Client:
    """The server's API with its token; a request that fails raises NoetlError with the server's own words."""

    def __init__(self, url: str, token: Secret, timeout: float = 30.0) -> None:
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0  # a port out of range raises
        except ValueError:
            sound = False
        if not sound:
            raise UsageError(f"{url!r} is no server URL", "set NOETL_SERVER_URL to one like http://127.0.0.1:8082")
        self.url = url.rstrip("/")
        self._parts = parts
        self._token = token
        self._timeout = timeout

    def get(self, path: str, /, **query: object) -> Any:
        """GET a path and return its JSON; a query parameter that is None is left out."""
        return self._request("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, object] | None = None, /, **query: object) -> Any:
        """POST a JSON body and return the answer's JSON."""
        return self._request("POST", path, query, body or {})

    def delete(self, path: str, /) -> Any:
        """DELETE a path and return the answer's JSON."""
        return self._request("DELETE", path, {}, None)

    def answers(self, path: str = "/ready") -> bool:
        """Tell whether the server answers 200 there within a second."""
        try:
            return self._got(self._target(path, {}), 1.0)[0] == 200
        except Unavailable:
            return False

    def stream(self, path: str, /, **query: object) -> Iterator[Message]:
        """Yield the messages of an event stream until the server ends it; a broken connection raises Unavailable."""
        connection = self._connect(60.0)
        try:
            response = self._send(connection, "GET", self._target(path, query), None, {"Accept": "text/event-stream"})
            if response.status != 200:
                raise self._error(response.status, response.read())
            with self._broken():
                yield from messages(line.decode().rstrip("\r\n") for line in iter(response.readline, b""))
        finally:
            connection.close()

    def pieces(self, path: str, /) -> Iterator[bytes]:
        """Yield what a path answers as it comes, piece by piece; a broken connection raises Unavailable."""
        connection = self._connect(60.0)
        try:
            response = self._send(connection, "GET", self._target(path, {}), None, {"Accept": "application/json"})
            if response.status != 200:
                raise self._error(response.status, response.read())
            with self._broken():
                while piece := response.read(PIECE):
                    yield piece
                if response.length:
                    raise ConnectionResetError(f"{response.length} bytes are missing")
        finally:
            connection.close()

    def _request(self, method: str, path: str, query: Mapping[str, object], body: Mapping[str, object] | None) -> Any:
        target = self._target(path, query)
        status, text = self._got(target, self._timeout) if method == "GET" else self._whole(method, target, body, self._timeout)
        if status >= 400:
            raise self._error(status, text)
        return json.loads(text) if text else None

    def _got(self, target: str, timeout: float) -> tuple[int, bytes]:
        if self._parts.scheme == "https":
            return self._whole("GET", target, None, timeout)
        try:
            with self._broken():
                return plain_http.get(self._parts, target, self._headers() | {"Accept": "application/json"}, timeout)
        except plain_http.InPartsError:
            return self._whole("GET", target, None, timeout)

    def _whole(self, method: str, target: str, body: Mapping[str, object] | None, timeout: float) -> tuple[int, bytes]:
        connection = self._connect(timeout)
        try:
            response = self._send(connection, method, target, body, {"Accept": "application/json"})
            with self._broken():
                return response.status, response.read()
        finally:
            connection.close()

    def _send(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: Mapping[str, object] | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        with self._broken():
            connection.request(method, target, body=content, headers=self._headers() | headers)
            return connection.getresponse()

    @contextlib.contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except ConnectionRefusedError as error:
            raise Unavailable(f"no server answers at {self.url}", START_A_SERVER) from error
        except TimeoutError as error:
            raise Unavailable(f"the server at {self.url} did not answer in time", "see: noetl server status") from error
        except socket.gaierror as error:
            raise Unavailable(f"the host of {self.url} has no address: {error.strerror}", "set NOETL_SERVER_URL to the server's") from error
        except _breaks() as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"the connection to {self.url} broke: {reason}", "see: noetl server status") from error

    def _error(self, status: int, text: bytes) -> NoetlError:
        document: Any = None
        with contextlib.suppress(ValueError):
            document = json.loads(text)
        error = document.get("error") if isinstance(document, dict) else None
        if status == 401:
            return Unauthorized.at(self.url)
        kind = _ERRORS.get(status, NoetlError)
        if not isinstance(error, dict):
            return kind(f"{self.url} answered {status}: {text[:200].decode(errors='replace')}", "is that a noetl server?")
        return kind(str(error.get("message")), str(error.get("hint") or ""), code=error.get("code"), details=error.get("details"))

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        import http.client
        import ssl

        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port or 443, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port or 80, timeout=timeout)

    def _target(self, path: str, query: Mapping[str, object]) -> str:
        given = {name: value for name, value in query.items() if value is not None}
        return self._parts.path.rstrip("/") + quote(path) + (f"?{urlencode(given)}" if given else "")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.reveal()}"} if self._token else {}


def _breaks() -> tuple[type[Exception], ...]:
    """Return the errors of a connection; those of http.client can only be raised where it was imported."""
    loaded = sys.modules.get("http.client")
    return (OSError, loaded.HTTPException) if loaded else (OSError,)


def connect(settings: Settings, timeout: float = 30.0) -> Client:
    """Return a client of the server that the settings mean, with the token that they or NOETL_HOME have.

    Where they name no server, it is the one of this home: on their port if one was started there, else the only one.
    """
    url = server_url(settings)
    if not settings.server_url:
        urls = [document.get("url") for document in map(home.read_note, sorted(settings.home.glob("noetl_server*.json")))]
        started = [one for one in urls if isinstance(one, str)]
        url = url if url in started or len(started) != 1 else started[0]
    return Client(url, home.known_token(settings), timeout)


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Read server-sent events out of a stream's lines (WHATWG HTML, section 9.2.6)."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line == "":
            if "data" in fields:
                yield Message(_last(fields, "event") or "message", _last(fields, "id"), json.loads("\n".join(fields["data"])))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _last(fields: Mapping[str, list[str]], name: str) -> str | None:
    return fields[name][-1] if name in fields else None
