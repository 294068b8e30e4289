"""DuckDB's secrets, made of the credentials that a config's `auth` names, and the extensions that they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from noetl.tools import credential
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.columns import quoted

_EXTENSIONS = {"postgres": "postgres", "gcs": "httpfs", "s3": "httpfs"}
_BUCKET = {
    "KEY_ID": ("key_id", "access_key_id", "aws_access_key_id", "access_key"),
    "SECRET": ("secret", "secret_access_key", "aws_secret_access_key", "secret_key"),
    "SESSION_TOKEN": ("session_token", "aws_session_token"),
    "REGION": ("region",),
    "ENDPOINT": ("endpoint",),
    "SCOPE": ("scope",),
}
_FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "postgres": {
        "HOST": ("db_host", "host"),
        "PORT": ("db_port", "port"),
        "DATABASE": ("db_name", "database", "dbname"),
        "USER": ("db_user", "user", "username"),
        "PASSWORD": ("db_password", "password"),
    },
    "gcs": _BUCKET,
    "s3": _BUCKET,
}
_TYPES = {"postgresql": "postgres", "pg": "postgres", "gcs_hmac": "gcs", "hmac": "gcs", "s3_hmac": "s3", "aws": "s3"}


def create(connection: duckdb.DuckDBPyConnection, config: Mapping[str, Json], call: Call) -> None:
    """Make a secret of each alias in `auth`; ToolError says what to install where its extension is not there."""
    auth = config.get("auth") or config.get("credential")
    if not auth:
        return
    for alias, (kind, text) in statements(auth, call).items():
        extension = _EXTENSIONS[kind]
        try:
            connection.execute(f"LOAD {extension}")
            connection.execute(text)
        except duckdb.IOException as error:
            raise ToolError(
                f"auth {alias} needs DuckDB's extension {extension}, which its package has not and this worker's machine neither: run there"
                f" python -c \"import duckdb; duckdb.sql('INSTALL {extension}')\", or use a transfer, which needs none",
                type="extension",
            ) from error


def statements(auth: Json, call: Call) -> dict[str, tuple[str, str]]:
    """Return for each alias the type of its secret and the statement that makes it."""
    is_map = isinstance(auth, Mapping) and all(isinstance(value, Mapping) for value in auth.values())
    aliases = auth if is_map else {_alias(auth): auth}
    return {str(alias): _statement(str(alias), entry, call) for alias, entry in aliases.items()}


def _alias(auth: Json) -> str:
    names = ("alias", "name", "credential", "key")
    found = next((auth[name] for name in names if auth.get(name)), "auth") if isinstance(auth, Mapping) else auth
    return str(found)


def _statement(alias: str, entry: Json, call: Call) -> tuple[str, str]:
    fields: Mapping[str, Any] = credential.resolve(entry, call.credential) or {}
    written = str(fields.get("type") or (entry.get("source") if isinstance(entry, Mapping) else "") or "").lower()
    kind = _TYPES.get(written, written)
    if kind not in _FIELDS:
        kind = "postgres" if fields.get("db_host") or fields.get("host") else kind
    if kind not in _FIELDS:
        raise ToolError(f"auth {alias} is of type {written!r}; DuckDB's secrets are {', '.join(_FIELDS)}", type="config")
    values = {word: next((fields[name] for name in names if fields.get(name)), None) for word, names in _FIELDS[kind].items()}
    for word in ("PASSWORD", "SECRET", "SESSION_TOKEN"):
        if values.get(word):
            call.secrets.add(str(values[word]))
    given = ", ".join(f"{word} {_literal(value)}" for word, value in values.items() if value is not None)
    return kind, f"CREATE OR REPLACE TEMPORARY SECRET {quoted(alias)} (TYPE {kind}{', ' if given else ''}{given})"


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
