"""The DuckDB database that an execution's steps share when they name none: who uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noetl.playbook.model import Step, Tool
from noetl.playbook.sinks import sinks_of

Json = Any


def uses_own_file(tool: Tool) -> bool:
    """Whether a tool, or a sink's, works on the execution's own file: duckdb without a `database`, or a transfer from such."""
    config: Json = tool.config
    if tool.kind == "transfer":
        config = config.get("source")
        if not isinstance(config, Mapping) or _kind(config) != "duckdb":
            return False
    elif tool.kind != "duckdb":
        return False
    return config.get("database") in (None, "")


def works_on_own_file(step: Step) -> bool:
    """Whether a step's tool or one of its sinks does."""
    return any(uses_own_file(tool) for tool in _tools(step))


def _tools(step: Step) -> Iterator[Tool]:
    if step.tool is not None:
        yield step.tool
    for rule in range(-1, len(step.rules)):
        for sink in sinks_of(step, rule):
            yield sink.tool


def _kind(config: Mapping[str, Json]) -> str:
    return str(next((config[name] for name in ("tool", "kind", "type") if config.get(name)), "")).lower()
