"""Where secrets come from: one file a provider, each with a `read(name, access)`. A new one is a file and a line in the table."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import orjson

from noetl.tools.access import Access
from noetl.tools.base import Json, ToolError


class Provider(Protocol):
    """Reads one secret."""

    def read(self, name: str, access: Access) -> Json:
        """Return the secret's value; ToolError says why there is none."""


PROVIDERS = {
    "env": "noetl.tools.providers.env",
    "aws": "noetl.tools.providers.aws",
    "gcp": "noetl.tools.providers.gcp",
    "google": "noetl.tools.providers.gcp",
    "azure": "noetl.tools.providers.azure",
    "vault": "noetl.tools.providers.vault",
}


def read(provider: str, written: str, access: Access) -> Json:
    """Return a secret's value, or of one that is a JSON object the field that is named after a `#`."""
    if provider not in PROVIDERS:
        raise ToolError(f"there is no provider {provider!r} of secrets; there is {', '.join(PROVIDERS)}", type="config")
    name, _, field = written.partition("#")
    if not name:
        raise ToolError("there is no name of a secret: give name", type="config")
    module = cast(Provider, importlib.import_module(PROVIDERS[provider]))
    try:
        value = module.read(name, access)
    except ToolError as error:
        if error.type != "http_status":
            raise
        kind = "not_found" if error.status == 404 or "NotFound" in error.message else error.type
        hint = "check its name and place, and that the credential in `auth` may read it"
        raise ToolError(f"no secret {name} from {provider}: {error.message}", hint, type=kind, status=error.status) from error
    return _field(value, name, field) if field else value


def _field(value: Json, name: str, field: str) -> Json:
    fields = value
    if isinstance(value, str):
        try:
            fields = orjson.loads(value)
        except ValueError:
            fields = None
    if not isinstance(fields, dict) or field not in fields:
        raise ToolError(f"the secret {name} has no field {field}", type="not_found")
    return fields[field]
