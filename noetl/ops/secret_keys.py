"""Which secret values an installation needs, and where each comes from. Their values are never here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from noetl.ops.values import Values

SECRET = "noetl-secrets"  # noqa: S105 - a name
Made = Literal["token", "key"]
_MADE: dict[str, Made] = {
    "NOETL_API_TOKEN": "token",
    "NOETL_ENCRYPTION_KEY": "key",
    "POSTGRES_PASSWORD": "token",
    "PLAYBOOKS_POSTGRES_PASSWORD": "token",
    "POSTGRES_SUPERUSER_PASSWORD": "token",
    "NATS_TOKEN": "token",
}


@dataclass(frozen=True)
class Wanted:
    """A key of a Secret that pods read.

    `made` says what is made at the first install where it is not there: a `token` (letters and digits, url-safe) or a `key` (base64 of 32
    bytes); None: it has to be there already. `variable` is the name it has among the values.
    """

    variable: str
    secret: str
    key: str
    made: Made | None


def wanted_secrets(values: Values) -> list[Wanted]:
    """Return the keys that pods read, in a fixed order."""
    found = []
    for variable in _variables(values):
        if own := values.secret.keys.get(variable):  # type: ignore[call-overload]
            found.append(Wanted(variable, own.name, own.key, None))
        elif values.secret.existing:
            found.append(Wanted(variable, values.secret.existing, variable, None))
        else:
            found.append(Wanted(variable, SECRET, variable, _MADE[variable]))
    return found


def _variables(values: Values) -> list[str]:
    names = ["NOETL_API_TOKEN", "NOETL_ENCRYPTION_KEY", "POSTGRES_PASSWORD"]
    if values.postgres.playbooks:
        names.append("PLAYBOOKS_POSTGRES_PASSWORD")
    if not values.postgres.host:
        names.append("POSTGRES_SUPERUSER_PASSWORD")
    if values.nats.url_in_secret:
        names.append("NATS_URL")
    elif not values.nats.external:
        names.append("NATS_TOKEN")
    return names
