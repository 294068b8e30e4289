"""The names that routing templates see (docs/language, names)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from noetl.engine.value import Value

Json = Any


@dataclass
class Known:
    """What the caller has loaded of an execution: only names that the plan says will be read need to be here.

    `results` are the latest results by step, `aggregates` and `items` belong to loops, by run.
    """

    execution_id: str
    catalog_id: str
    workload: Mapping[str, Json] = field(default_factory=dict)
    payload: Mapping[str, Json] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    results: dict[str, Value] = field(default_factory=dict)
    aggregates: Mapping[int, Value] = field(default_factory=dict)
    items: Mapping[int, Sequence[Json]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    spec: Json = None


def reserved(known: Known, at: float) -> dict[str, Callable[[], Json]]:
    """Return the names that no workload key can override, each with the function that gives its value."""
    return {
        "execution_id": lambda: known.execution_id,
        "catalog_id": lambda: known.catalog_id,
        "job": lambda: {"uuid": known.execution_id, "id": known.execution_id, "execution_id": known.execution_id},
        "workload": lambda: known.workload,
        "payload": lambda: known.payload,
        "vars": lambda: known.variables,
        "env": lambda: known.env,
        "spec": lambda: known.spec,
        "steps": lambda: {name: value.get() for name, value in known.results.items()},
        "now": lambda: lambda: datetime.fromtimestamp(at, UTC),
    }


def lookup(known: Known, at: float, roots: Mapping[str, Any] | frozenset[str]) -> dict[str, Json]:
    """Return a scope of the roots that lead somewhere: reserved names, then step results, variables, workload keys."""
    scope: dict[str, Json] = {}
    special = reserved(known, at)
    for root in roots:
        if root in special:
            scope[root] = special[root]()
        elif root in known.results:
            scope[root] = known.results[root].get()
        elif root in known.variables:
            scope[root] = known.variables[root]
        elif root in known.workload:
            scope[root] = known.workload[root]
        elif root == "ctx":
            scope[root] = {}
    return scope
