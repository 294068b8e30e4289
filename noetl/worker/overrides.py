"""What a page of a pagination changes in the config of the call before it."""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from noetl.playbook.model import Json

_BODIES = ("payload", "body", "json")
_ADDRESSES = ("url", "endpoint")
_BODILESS = frozenset({"GET", "DELETE", "HEAD", "OPTIONS"})


def overridden(config: Mapping[str, Json], overrides: Mapping[str, Json]) -> dict[str, Json]:
    """Return a rendered config with values over it: `params` and `headers` name by name, everything else in place of what was there."""
    result = dict(config)
    for name, value in overrides.items():
        if name in _BODIES:
            _without_body(result, _BODIES)
        elif name in _ADDRESSES:
            _remove(result, _ADDRESSES)
        if name == "headers" and isinstance(value, Mapping):
            result[name] = _headers(result.get("headers"), value)
        elif name != "params" or not isinstance(value, Mapping):
            result[name] = value
    params = overrides.get("params")
    if isinstance(params, Mapping):
        _set_params(result, params)
    return result


def _headers(written: Json, over: Mapping[str, Json]) -> dict[str, Json]:
    lower = {str(name).lower() for name in over}
    kept = written if isinstance(written, Mapping) else {}
    return {**{name: value for name, value in kept.items() if str(name).lower() not in lower}, **over}


def _without_body(config: dict[str, Json], names: tuple[str, ...]) -> None:
    _remove(config, names)
    data = config.get("data")
    if isinstance(data, Mapping) and ("body" in data or "query" in data):
        config["data"] = {name: value for name, value in data.items() if name != "body"}
    elif data is not None:
        del config["data"]


def _remove(config: dict[str, Json], names: tuple[str, ...]) -> None:
    for name in names:
        config.pop(name, None)


def _set_params(config: dict[str, Json], params: Mapping[str, Json]) -> None:
    """Set query parameters where this config has its query: in `data`, in `params`, and no longer in the address."""
    data = config.get("data")
    bodiless = str(config.get("method") or "GET").upper() in _BODILESS
    if isinstance(data, Mapping) and isinstance(data.get("query"), Mapping):
        config["data"] = {**data, "query": {**data["query"], **params}}
    elif isinstance(data, Mapping) and data and bodiless:
        config["data"] = {**data, **params}
    else:
        written = config.get("params")
        config["params"] = {**(written if isinstance(written, Mapping) else {}), **params}
    for name in _ADDRESSES:
        address = config.get(name)
        if isinstance(address, str) and "?" in address:
            url = URL(address)
            config[name] = str(url.with_query([(key, value) for key, value in url.query.items() if key not in params]))
