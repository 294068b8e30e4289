"""The kinds of tools: one row each, with the fields that it knows and those that it cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl.playbook.shapes import ANY, DURATION, FLAG, MAPPING, PORT, TEXT, TEXT_OR_MAPPING, TEXTS, Shape

COMMON: Mapping[str, Shape] = {"timeout": DURATION}
"""Fields that every kind takes, beside `kind`, `args` and `with`."""

IGNORED = frozenset({"assert", "retry", "desc"})
"""Fields that are accepted on every kind and change nothing."""

SCRIPT_SOURCES: Mapping[str, bool] = {"file": True, "http": False, "gcs": False, "s3": False, "inline": False}
"""Where a `script` may come from, and whether this version can fetch it."""

SCRIPT_SOURCE_FIELDS = frozenset({"type", "endpoint", "method", "headers", "timeout", "auth", "region", "code"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tool. Of each group in `required` one field has to be given.

    `code` names the fields that are used as they stand when they are no valid template; `script` says whether the kind loads its code with
    a `script` field; a kind that is not `supported` is refused at registration.
    """

    fields: Mapping[str, Shape]
    required: tuple[tuple[str, ...], ...] = ()
    supported: bool = True
    code: frozenset[str] = field(default_factory=frozenset)
    script: bool = False


_AUTH: Mapping[str, Shape] = {"auth": TEXT_OR_MAPPING, "credential": TEXT_OR_MAPPING}
_CODE: Mapping[str, Shape] = dict.fromkeys(("code", "code_b64", "code_base64"), TEXT)
_SQL: Mapping[str, Shape] = {
    **dict.fromkeys(("command_b64", "commands_b64", "query_b64"), TEXT),
    **dict.fromkeys(("query", "queries", "command", "commands", "cmd", "cmds", "sql"), TEXTS),
}
_DATABASE: Mapping[str, Shape] = {
    **dict.fromkeys(("db_host", "db_name", "db_user", "db_password", "connection"), TEXT),
    "db_port": PORT,
}
_TRANSFER: Mapping[str, Shape] = {"source": MAPPING, "target": MAPPING, "chunk_size": ANY}
_PLAYBOOK: Mapping[str, Shape] = {"path": TEXT, "payload": MAPPING, "return_step": TEXT, "version": ANY}

_python = Kind({**_CODE, "libs": MAPPING, **_AUTH}, required=((*_CODE, "script"),), code=frozenset({"code"}), script=True)
_SHELL: Mapping[str, Shape] = dict.fromkeys(("cmds", "command", "cmd"), TEXTS)

_playbook = Kind(_PLAYBOOK, required=(("path",),), supported=False)

KINDS: Mapping[str, Kind] = {
    "python": _python,
    "http": Kind(
        {
            **dict.fromkeys(("method", "url", "endpoint"), TEXT),
            **dict.fromkeys(("headers", "params"), MAPPING),
            **dict.fromkeys(("payload", "body", "json", "data"), ANY),
            **dict.fromkeys(("verify_ssl", "verify"), FLAG),
            **_AUTH,
        },
        required=(("url", "endpoint"),),
    ),
    "postgres": Kind({**_SQL, **_DATABASE, **_AUTH}, required=((*_SQL, "script"),), script=True),
    "duckdb": Kind({**_SQL, "database": TEXT, **_AUTH}, required=((*_SQL, "script"),), script=True),
    "shell": Kind({**_SHELL, "env": MAPPING, "cwd": TEXT}, required=(tuple(_SHELL),)),
    "workbook": Kind({"name": TEXT, "task": TEXT}, required=(("name", "task"),)),
    "playbook": _playbook,
    "playbooks": _playbook,
    "secrets": Kind({"provider": TEXT, "name": TEXT, **_AUTH}, required=(("name",),), supported=False),
    "iterator": Kind({}, supported=False),
    "container": Kind({"runtime": MAPPING, "env": MAPPING}, required=(("runtime",),), supported=False),
    "script": Kind({"job": MAPPING, **_AUTH}, required=(("script",),), supported=False, script=True),
    "snowflake": Kind({**_SQL, **_AUTH}, required=((*_SQL, "script"),), supported=False, script=True),
    "transfer": Kind(_TRANSFER, required=(("source",), ("target",)), supported=False),
    "snowflake_transfer": Kind({**_TRANSFER, **_AUTH}, required=(("source",), ("target",)), supported=False),
    "gcs": Kind({"source": TEXT, "destination": TEXT, **_AUTH}, required=(("source",), ("destination",)), supported=False),
}


def supported() -> list[str]:
    """Return the names of the kinds that this version runs."""
    return [name for name, kind in KINDS.items() if kind.supported]
