"""The kinds of tools: one row each, with the fields that it knows and those that it cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl.playbook.shapes import (
    ANY,
    COUNT,
    CPU,
    DURATION,
    EDITION,
    FLAG,
    MAPPING,
    MEMORY,
    METHOD,
    PORT,
    PROVIDER,
    PULL,
    TEXT,
    TEXT_OR_MAPPING,
    TEXTS,
    URL,
    VERSION,
    Shape,
    mapping_of,
)

COMMON: Mapping[str, Shape] = {"timeout": DURATION}
"""Fields that every kind takes, beside `kind`, `args` and `with`."""

IGNORED = frozenset({"assert", "retry", "desc"})
"""Fields that are accepted on every kind and change nothing."""

PROVIDERS = ("env", "aws", "gcp", "google", "azure", "vault")
"""Where secrets come from."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tool, sink, end of a transfer or entry of the keychain. Of each group in `required` one field has to be given.

    `code` names the fields that are used as they stand when they are no valid template; `script` says whether the kind loads its code with
    a `script` field; a kind that is not `supported` is refused at registration.
    """

    fields: Mapping[str, Shape]
    required: tuple[tuple[str, ...], ...] = ()
    supported: bool = True
    code: frozenset[str] = field(default_factory=frozenset)
    script: bool = False
    instead: str = ""
    """What to write instead of a kind that is not supported."""


AUTH: Mapping[str, Shape] = {"auth": TEXT_OR_MAPPING, "credential": TEXT_OR_MAPPING}
CODE: Mapping[str, Shape] = dict.fromkeys(("code", "code_b64", "code_base64"), TEXT)
STATEMENTS: Mapping[str, Shape] = dict.fromkeys(("query", "queries", "command", "commands", "cmd", "cmds", "sql"), TEXTS)
SQL: Mapping[str, Shape] = {**dict.fromkeys(("command_b64", "commands_b64", "query_b64"), TEXT), **STATEMENTS}
REQUEST: Mapping[str, Shape] = {
    **dict.fromkeys(("url", "endpoint"), URL),
    "method": METHOD,
    **dict.fromkeys(("headers", "params"), MAPPING),
    **dict.fromkeys(("verify_ssl", "verify"), FLAG),
    **AUTH,
}
DATABASE: Mapping[str, Shape] = {
    **dict.fromkeys(("db_host", "db_name", "db_user", "db_password", "connection"), TEXT),
    "db_port": PORT,
}
SECRET: Mapping[str, Shape] = {
    **dict.fromkeys(("provider", "region", "project", "endpoint"), TEXT),
    **dict.fromkeys(("version", "kv_version"), VERSION),
    **AUTH,
}
OBJECT: Mapping[str, Shape] = {**dict.fromkeys(("destination", "content_type", "endpoint"), TEXT), **AUTH}
_CONTAINER: Mapping[str, Shape] = {
    **dict.fromkeys(("image", "workdir", "namespace", "service_account", "context", "network"), TEXT),
    **dict.fromkeys(("command", "args", "env", "volumes"), ANY),
    "memory": MEMORY,
    "cpu": CPU,
    "pull": PULL,
}
_RUNTIME = mapping_of({**_CONTAINER, **dict.fromkeys(("provider", "type"), PROVIDER)})
_JOB = mapping_of(
    {**_CONTAINER, "resources": MAPPING, **dict.fromkeys(("imagePullPolicy", "image_pull_policy"), PULL), "serviceAccountName": TEXT}
)
_TRANSFER: Mapping[str, Shape] = {"source": MAPPING, "target": MAPPING, "chunk_size": COUNT}
_PLAYBOOK: Mapping[str, Shape] = {"path": TEXT, "payload": MAPPING, "return_step": TEXT, "version": EDITION}

_python = Kind({**CODE, "libs": MAPPING, **AUTH}, required=((*CODE, "script"),), code=frozenset({"code"}), script=True)
_SHELL: Mapping[str, Shape] = dict.fromkeys(("cmds", "command", "cmd"), TEXTS)

_playbook = Kind(_PLAYBOOK, required=(("path",),))

KINDS: Mapping[str, Kind] = {
    "python": _python,
    "http": Kind({**REQUEST, **dict.fromkeys(("payload", "body", "json", "data"), ANY)}, required=(("url", "endpoint"),)),
    "postgres": Kind({**SQL, **DATABASE, **AUTH}, required=((*SQL, "script"),), script=True),
    "duckdb": Kind({**SQL, "database": TEXT, **AUTH}, required=((*SQL, "script"),), script=True),
    "shell": Kind({**_SHELL, "env": MAPPING, "cwd": TEXT}, required=(tuple(_SHELL),)),
    "workbook": Kind({"name": TEXT, "task": TEXT}, required=(("name", "task"),)),
    "playbook": _playbook,
    "playbooks": _playbook,
    "secrets": Kind({**SECRET, "name": TEXT}, required=(("name",),)),
    "iterator": Kind({}, supported=False, instead="write loop: {in: LIST, iterator: NAME} beside the step's own tool"),
    "container": Kind({"runtime": _RUNTIME, "env": MAPPING}, required=(("runtime",),)),
    "script": Kind({"job": _JOB, **AUTH}, required=(("script",),), script=True),
    "snowflake": Kind({**SQL, **AUTH}, required=((*SQL, "script"),), supported=False, script=True),
    "transfer": Kind(_TRANSFER, required=(("source",), ("target",))),
    "snowflake_transfer": Kind({**_TRANSFER, **AUTH}, required=(("source",), ("target",)), supported=False),
    "gcs": Kind({**OBJECT, "source": TEXT}, required=(("source",), ("destination",))),
}


def supported(kinds: Mapping[str, Kind] = KINDS) -> list[str]:
    """Return the names of the kinds in a table that this version has."""
    return [name for name, kind in kinds.items() if kind.supported]
