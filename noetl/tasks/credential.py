"""Credentials that steps and keychains name."""

from __future__ import annotations

from invoke.context import Context

from noetl.tasks.flags import JSON
from noetl.tasks.verb import read_settings, say, verb

_NAME = {"name": "the name by which playbooks use it"}


@verb(
    name="set",
    positional=["name"],
    help={
        **_NAME,
        "type": "what it is for: postgres, bearer, basic, api_key, aws, gcp, azure, vault, …",
        "file": "a file with its fields, a mapping in JSON or YAML; - reads them from standard input (the default)",
        "description": "text for people",
    },
)
def set_(_context: Context, name: str, type: str = "", file: str = "-", description: str = "") -> None:
    """Store a credential, or replace it.

    Its fields come from a file or standard input, so that no secret is on a command line; they are encrypted at rest.
    """
    from noetl.ops import credentials
    from noetl.ops.client import connect

    fields = credentials.read(file)
    credentials.store(connect(read_settings()), name, type, fields, description)
    say(f"credential {name}: stored, with {', '.join(fields)}")


@verb(name="list", help={**JSON})
def list_(_context: Context, json: bool = False) -> None:
    """List the credentials, without what is secret."""
    from noetl.ops import answers, tables
    from noetl.ops.client import connect

    found = connect(read_settings()).get("/api/credentials")
    say(answers.as_json(found) if json else tables.table(found["credentials"], ("name", "type", "description", "updated_at")))


@verb(positional=["name"], help=_NAME)
def remove(_context: Context, name: str) -> None:
    """Remove a credential; steps that use it fail from then on."""
    from noetl.ops import credentials
    from noetl.ops.client import connect

    credentials.remove(connect(read_settings()), name)
    say(f"credential {name}: removed")
