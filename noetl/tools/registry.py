"""The kinds of tool that a worker can run. A new kind is a file beside this one and a line in the table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from noetl.tools.base import Call, Json, ToolError


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind's `run(call)` is (`module:function`, imported at first use), and how its config is rendered.

    `language` is that of the text which it executes; the text arrives as `config["code"]`. A kind that `limits_itself` ends by itself at
    its time limit; the others are killed. `ready(call)` does what a call needs, has no effect and may take a while; the call comes
    after it, once its lease is known to be live.
    `gives_secrets` is for a kind whose result is a secret that the playbook asked for: it is masked in all but the result.
    """

    run: str
    ready: str = ""
    language: Literal["python", "sql", "shell"] | None = None
    limits_itself: bool = False
    gives_secrets: bool = False


KINDS: dict[str, Kind] = {
    "python": Kind("noetl.tools.python:run", ready="noetl.tools.python:ready", language="python"),
    "http": Kind("noetl.tools.http:run", limits_itself=True),
    "postgres": Kind("noetl.tools.postgres:run", language="sql", limits_itself=True),
    "duckdb": Kind("noetl.tools.duckdb:run", language="sql"),
    "shell": Kind("noetl.tools.shell:run", language="shell"),
    "secrets": Kind("noetl.tools.secrets:run", gives_secrets=True),
    "transfer": Kind("noetl.tools.transfer:run", limits_itself=True),
    "gcs": Kind("noetl.tools.gcs:run", limits_itself=True),
    "container": Kind("noetl.tools.container:run"),
    "script": Kind("noetl.tools.script_job:run", language="python"),
}

SINKS: dict[str, Kind] = {
    "event": Kind("noetl.tools.sinks.event:run"),
    "event_log": Kind("noetl.tools.sinks.event:run"),
    "postgres": Kind("noetl.tools.sinks.postgres:run", language="sql", limits_itself=True),
    "duckdb": Kind("noetl.tools.sinks.duckdb:run", language="sql"),
    "python": Kind("noetl.tools.sinks.python:run", ready="noetl.tools.python:ready", language="python"),
    "http": Kind("noetl.tools.sinks.http:run", limits_itself=True),
    "gcs": Kind("noetl.tools.sinks.gcs:run", limits_itself=True),
}


def find(kind: str, *, sink: bool = False) -> Kind:
    """Return the entry of a kind of tool or sink; ToolError names those that there are."""
    table, what = (SINKS, "sink") if sink else (KINDS, "tool")
    try:
        return table[kind]
    except KeyError:
        raise ToolError(f"this worker has no {what} {kind!r}; it has {', '.join(table)}", type="unknown_tool") from None


def load(kind: str, *, sink: bool = False) -> tuple[Callable[[Call], None] | None, Callable[[Call], Json]]:
    """Import a kind's `ready`, if it has one, and its `run`; that returns the result, or a coroutine of it."""
    entry = find(kind, sink=sink)
    return _imported(entry.ready) if entry.ready else None, _imported(entry.run)


def _imported(place: str) -> Callable[[Call], Any]:
    module, _, name = place.partition(":")
    function: Callable[[Call], Any] = getattr(importlib.import_module(module), name)
    return function
