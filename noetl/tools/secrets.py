"""The `secrets` tool: a secret as a step's result. It is masked in what the step prints and in its errors, not in the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from noetl.tools import providers
from noetl.tools.access import access_of
from noetl.tools.base import Call, Json
from noetl.tools.request import Find


def run(call: Call) -> Json:
    """Return `{value: …}` of the secret that the config names."""
    return {"value": read(call.config, str(call.config.get("name") or ""), call.scope.get("env"), call.credential, call.secrets)}


def read(config: Mapping[str, Json], name: str, env: Json, find: Find, secrets: set[str]) -> Json:
    """Return a secret of the provider in the config; `env` are the variables that playbooks may read. What it holds goes to `secrets`."""
    provider = str(config.get("provider") or "env").lower()
    settings = {key: item for key, item in config.items() if key != "name"}
    access = access_of(settings, find, secrets)
    if provider == "env":
        access = replace(access, environ=env if isinstance(env, Mapping) else {})
    value = providers.read(provider, name, access)
    secrets.update(texts(value))
    return value


def texts(value: Json) -> Iterator[str]:
    """Yield the texts and numbers in a value."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
