"""Tokens of OAuth 2: asked for once, and kept in this process until they expire."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping

import orjson

from noetl.playbook.duration import seconds
from noetl.tools.base import Json, ToolError
from noetl.tools.exchange import send_and_wait
from noetl.tools.request import Find, authorized, build

_TIMEOUT = 30.0
_KEPT = 64
_PART = 0.9
"""A token counts as expired after this part of its time."""
_FORM = "application/x-www-form-urlencoded"
_tokens: dict[str, tuple[float, dict[str, Json]]] = {}


def token(config: Mapping[str, Json], find: Find, secrets: set[str]) -> dict[str, Json]:
    """Return the JSON of the token response to the request that a rendered config describes."""
    key = hashlib.sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def ask() -> dict[str, Json]:
        request = authorized(build(_request(config)), config, find, secrets)
        answer = send_and_wait(request, seconds(config.get("timeout")) or _TIMEOUT)["data"]
        if not isinstance(answer, dict):
            raise ToolError(f"{request.place} answered with no JSON object", type="oauth2")
        return answer

    return kept(key, ask)


def kept(key: str, ask: Callable[[], dict[str, Json]]) -> dict[str, Json]:
    """Return the answer that is kept under a key, or ask for one and keep it for as long as its `expires_in` says."""
    expires, answer = _tokens.get(key, (0.0, {}))
    if time.monotonic() < expires:
        return answer
    answer = ask()
    _keep(key, answer)
    return answer


def _request(config: Mapping[str, Json]) -> dict[str, Json]:
    """Return the config as one of the http tool: `data` is a form, `json` is JSON, unless a header says otherwise."""
    headers = config.get("headers")
    headers = dict(headers) if isinstance(headers, Mapping) else {}
    if config.get("data") is not None and not any(str(name).lower() == "content-type" for name in headers):
        headers["Content-Type"] = _FORM
    url = config.get("endpoint") or config.get("url")
    body = {"body": config["data"]} if config.get("data") is not None else None
    return {**config, "url": url, "method": config.get("method") or "POST", "headers": headers, "data": body}


def _keep(key: str, answer: dict[str, Json]) -> None:
    now = time.monotonic()
    for other in [other for other, (expires, _) in _tokens.items() if expires <= now]:
        del _tokens[other]
    lifetime = seconds(answer.get("expires_in"))
    if lifetime and len(_tokens) < _KEPT:
        _tokens[key] = (now + lifetime * _PART, answer)
