"""A request over HTTP as it is sent: made of a config, with the credential that it names."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlencode

import orjson
from yarl import URL

from noetl.tools import credential
from noetl.tools.base import Json, ToolError

Find = Callable[[str], Mapping[str, Json]]
"""Returns a stored credential's data."""
_BODILESS = frozenset({"GET", "DELETE", "HEAD", "OPTIONS"})
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Request:
    """A request as it is sent."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    query: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None
    parts: dict[str, str] | None = None
    """The fields of a multipart body, instead of `body`."""
    verify: bool = True
    file: Path | None = None
    """What is sent as the body, read while it is sent."""

    @property
    def target(self) -> URL:
        """The URL with the query added to what it already has."""
        url = URL(self.url)
        return url.extend_query(self.query) if self.query else url

    @property
    def place(self) -> str:
        """Name the URL without its query and user, which may hold secrets."""
        url = URL(self.url)
        return str(url.with_query(None).with_user(None).with_fragment(None)) if url.host else quote(self.url)


def build(config: Mapping[str, Json], idempotency_key: str = "") -> Request:
    """Return the request that a config describes, without its credential."""
    method = str(config.get("method") or "GET").upper()
    url = str(config.get("url") or config.get("endpoint") or "")
    if not url:
        raise ToolError("the request has no url", type="config")
    if URL(url).scheme not in ("http", "https"):
        raise ToolError(f"the url is {url!r}; write it with http:// or https://", type="config")
    headers = {str(name): _text(value) for name, value in _mapping(config, "headers").items() if value is not None}
    names = {name.lower() for name in headers}
    if method not in ("GET", "HEAD", "OPTIONS") and idempotency_key and "idempotency-key" not in names:
        headers["Idempotency-Key"] = idempotency_key
    verify = next((config[name] for name in ("verify_ssl", "verify") if config.get(name) is not None), True)
    request = Request(method, url, headers, _pairs(_query(method, config)), verify=_true(verify))
    if method in _BODILESS:
        return request
    return _with_body(request, _body(config))


def _query(method: str, config: Mapping[str, Json]) -> Json:
    data = config.get("data")
    if method in _BODILESS:
        if isinstance(data, Mapping):
            return data.get("query", data) if data else config.get("params")
        return config.get("params")
    query = dict(_mapping(config, "params"))
    if isinstance(data, Mapping) and isinstance(data.get("query"), Mapping):
        query |= data["query"]
    return query


def _body(config: Mapping[str, Json]) -> Json:
    data = config.get("data")
    if isinstance(data, Mapping):
        if "body" in data:
            return data["body"]
        if data and "query" not in data:
            return data
    elif data is not None:
        return data
    return next((config[name] for name in ("payload", "body", "json") if config.get(name) is not None), None)


def _with_body(request: Request, body: Json) -> Request:
    if body is None:
        return request
    content_type = next((value for name, value in request.headers.items() if name.lower() == "content-type"), "").lower()
    if content_type.startswith("multipart/") and isinstance(body, Mapping):
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
        return replace(request, headers=headers, parts={str(name): _text(value) for name, value in body.items()})
    if content_type.startswith(_FORM) and isinstance(body, Mapping):
        return replace(request, body=urlencode(_pairs(body)).encode())
    if isinstance(body, str) and content_type and "json" not in content_type:
        return replace(request, body=body.encode())
    headers = request.headers if content_type else {**request.headers, "Content-Type": "application/json"}
    text = body.encode() if isinstance(body, str) and _is_json(body) else orjson.dumps(body)
    return replace(request, headers=headers, body=text)


def authorized(request: Request, config: Mapping[str, Json], find: Find, secrets: set[str]) -> Request:
    """Add the credential that a config names: `bearer`, `basic` or `api_key`, by its `type` or else by its fields."""
    fields = credential.resolve(config.get("auth") or config.get("credential"), find)
    if fields is None:
        return request
    token = _first(fields, "token", "access_token", "bearer_token")
    user, password = _first(fields, "username", "user"), _first(fields, "password")
    key = _first(fields, "api_key", "value", "key")
    kind = str(fields.get("type") or "").lower()
    secrets.update(str(secret) for secret in (token, password, key) if secret)
    if (kind == "basic" or (not token and not key)) and user is not None:
        value = "Basic " + base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        secrets.add(value.removeprefix("Basic "))
        return _with_header(request, "Authorization", value)
    if key is not None and (kind in ("api_key", "apikey", "header") or token is None):
        return _with_key(request, fields, str(key))
    if token is None:
        auth = config.get("auth") or config.get("credential")
        named = f"the credential {auth}" if isinstance(auth, str) else "the credential of `auth`"
        hint = "store one that has: noetl credential set NAME --type bearer --file FILE"
        raise ToolError(f"{named} has neither token, nor username and password, nor api_key", hint, type="config")
    return _with_header(request, "Authorization", f"Bearer {token}")


def _with_key(request: Request, fields: Mapping[str, Json], key: str) -> Request:
    name = str(_first(fields, "header", "header_name", "param", "name") or "X-API-Key")
    if str(fields.get("in") or "header").lower() == "query":
        return replace(request, query=[*request.query, (name, key)])
    return _with_header(request, name, key)


def _with_header(request: Request, name: str, value: str) -> Request:
    others = {key: text for key, text in request.headers.items() if key.lower() != name.lower()}
    return replace(request, headers={**others, name: value})


def _pairs(query: Json) -> list[tuple[str, str]]:
    if not query:
        return []
    if not isinstance(query, Mapping):
        raise ToolError(f"the query is a {type(query).__name__}; it is a mapping of names to values", type="config")
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(str(name), _text(item)) for item in values if item is not None]
    return pairs


def _mapping(config: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = config.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise ToolError(f"{name} is a {type(value).__name__}; it is a mapping of names to values", type="config")
    return value


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _first(fields: Mapping[str, Json], *names: str) -> Json:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _true(value: Json) -> bool:
    return value.strip().lower() not in ("false", "no", "0", "off") if isinstance(value, str) else bool(value)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
