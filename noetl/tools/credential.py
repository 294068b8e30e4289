"""The forms in which a step names the credential that it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from noetl.tools.base import Json, ToolError

_NAMES = ("credential", "key", "name", "ref")


def resolve(auth: Json, find: Callable[[str], Mapping[str, Json]]) -> dict[str, Json] | None:
    """Return the fields that `auth` stands for: a stored credential's, under those written beside its name; None for no auth at all.

    Accepted are a name, `{source: credential, key: NAME}`, `{type: …, credential: NAME}`, `{alias: {…}}` (the first alias counts) and the
    fields themselves.
    """
    if auth in (None, "", {}):
        return None
    if isinstance(auth, str):
        return dict(find(auth))
    if not isinstance(auth, Mapping):
        raise ToolError(f"auth is a {type(auth).__name__}; it takes a credential's name or a mapping", type="config")
    if isinstance(auth.get("credential"), str) or auth.get("source") == "credential":
        return _named(auth, find)
    values = list(auth.values())
    if all(isinstance(value, Mapping) for value in values):
        return resolve(values[0], find)
    return dict(auth)


def _named(auth: Mapping[str, Any], find: Callable[[str], Mapping[str, Json]]) -> dict[str, Json]:
    field = next((field for field in _NAMES if isinstance(auth.get(field), str) and auth[field]), None)
    if field is None:
        raise ToolError("auth names no credential: add key: NAME, the name under which it is stored", type="config")
    beside = {key: value for key, value in auth.items() if key not in (field, "source")}
    return {**find(auth[field]), **beside}
