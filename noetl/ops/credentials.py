"""Credentials: read from a file or standard input, never from a command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from noetl.errors import UsageError
from noetl.ops.client import Client

EXAMPLE = '{"db_host": "db.example.com", "db_user": "me", "db_password": "…", "db_name": "sales"}'


def read(file: str) -> dict[str, Any]:
    """Return a credential's fields, a mapping in JSON or YAML; `-` is standard input."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name a file with the credential's fields") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no UTF-8 text", "name a file with the credential's fields") from error
    where = "standard input" if file == "-" else file
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError:
        # What the parser says quotes the text, and that is secret.
        raise UsageError(f"{where} is neither JSON nor YAML", f"write a mapping, such as {EXAMPLE}") from None
    if not isinstance(fields, dict) or not fields or not all(isinstance(name, str) for name in fields):
        raise UsageError(f"{where} has no mapping of the credential's fields", f"write one, such as {EXAMPLE}")
    return fields


def store(client: Client, name: str, type: str, fields: Mapping[str, Any], description: str) -> None:
    """Store a credential, or replace it."""
    if not type:
        raise UsageError("the type is not given", f"noetl credential set {shlex.quote(name)} --type postgres --file FILE")
    client.post("/api/credentials", {"name": name, "type": type, "data": dict(fields), "description": description})


def remove(client: Client, name: str) -> None:
    """Remove a credential."""
    client.delete(f"/api/credentials/{name}")
