"""What a cloud's service is asked with: the fields of a config, of its credential, and the variables that the service's own tools read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from noetl.tools import credential
from noetl.tools.base import Json, ToolError
from noetl.tools.exchange import send_and_wait
from noetl.tools.request import Request

TIMEOUT = 30.0


@dataclass(frozen=True)
class Access:
    """Fields in their order: what the playbook says, the credential, the environment. `secrets` learns what must not be seen."""

    config: Mapping[str, Json]
    credential: Mapping[str, Json]
    secrets: set[str]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def find(self, *names: str, variables: tuple[str, ...] = ()) -> str:
        """Return the first field of these names, else the first variable; empty if there is none."""
        for fields, keys in ((self.config, names), (self.credential, names), (self.environ, variables)):
            for key in keys:
                if isinstance(value := fields.get(key), (str, int)) and str(value).strip():
                    return str(value).strip()
        return ""

    def secret(self, *names: str, variables: tuple[str, ...] = ()) -> str:
        """Return a field of the credential that must not be seen, else the first variable."""
        value = Access({}, self.credential, self.secrets, self.environ).find(*names, variables=variables)
        if value:
            self.secrets.add(value)
        return value

    def needed(self, what: str, value: str, *names: str) -> str:
        """Return the value; ToolError says what to write where it is empty."""
        if not value:
            raise ToolError(f"{what} is not known: give {' or '.join(names)}", type="config")
        return value


def access_of(config: Mapping[str, Json], find: Callable[[str], Mapping[str, Json]], secrets: set[str]) -> Access:
    """Return the access that a config has by its `auth`."""
    auth = credential.resolve(config.get("auth") or config.get("credential"), find)
    return Access(config, auth or {}, secrets)


def answer_to(request: Request) -> dict[str, Json]:
    """Send a request and return the JSON object that answers it, whatever its content type says."""
    data = send_and_wait(request, TIMEOUT)["data"]
    if isinstance(data, str):
        try:
            data = orjson.loads(data)
        except ValueError:
            data = None
    if not isinstance(data, dict):
        raise ToolError(f"{request.place} answered with no JSON object", type="value")
    return data
