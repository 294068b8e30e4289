"""The names that routing templates see (docs/language, names)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from noetl.engine.value import Value
from noetl.playbook.expression import Problem

Json = Any


@dataclass
class Known:
    """What the caller has loaded of an execution: only names that the plan says will be read need to be here.

    `results` are the latest results by step, None where it is known that there is none; `aggregates` and `items` belong to loops, by run;
    `pages` are what the calls of a pagination have collected so far, by run and item; `orders` are the items that a loop
    with `redo` had to issue when its execution began, by run.
    """

    execution_id: str
    catalog_id: str
    workload: Mapping[str, Json] = field(default_factory=dict)
    payload: Mapping[str, Json] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    results: Mapping[str, Value | None] = field(default_factory=dict)
    aggregates: Mapping[int, Value] = field(default_factory=dict)
    items: Mapping[int, Sequence[Json]] = field(default_factory=dict)
    pages: Mapping[tuple[int, int | None], Sequence[Json]] = field(default_factory=dict)
    orders: Mapping[int, Sequence[int]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    spec: Json = None


class View:
    """What the templates of one input see: what is known, and over it what the input has changed. What is known stays as it is.

    `changes` goes up whenever a template may see something else than before.
    """

    __slots__ = ("_aggregates", "_items", "_results", "_variables", "at", "cause", "changes", "known", "payload", "workload")

    def __init__(self, known: Known, at: float) -> None:
        self.known = known
        self.at = at
        self.workload = known.workload
        self.payload = known.payload
        self.changes = 0
        self.cause: Mapping[str, Json] | None = None
        self._variables: dict[str, Json] | None = None
        self._results: dict[str, Value | None] = {}
        self._aggregates: dict[int, Value] = {}
        self._items: dict[int, Sequence[Json]] = {}

    @property
    def variables(self) -> Mapping[str, Json]:
        """The variables as they are now."""
        return self.known.variables if self._variables is None else self._variables

    @property
    def results(self) -> dict[str, Value]:
        """The latest results of all steps."""
        merged = {**self.known.results, **self._results}
        return {step: value for step, value in merged.items() if value is not None}

    def result(self, step: str) -> Value | None:
        """Return a step's latest result, None where there is none or it is not known."""
        return self._results[step] if step in self._results else self.known.results.get(step)

    def aggregate(self, run: int) -> Value | None:
        """Return a loop's result, None while it is not known."""
        return self._aggregates.get(run) or self.known.aggregates.get(run)

    def items(self, run: int) -> Sequence[Json]:
        """Return the items of a loop."""
        return self._items[run] if run in self._items else self.known.items[run]

    def set_variable(self, name: str, value: Json) -> None:
        """Give a variable a value."""
        if self._variables is None:
            self._variables = dict(self.known.variables)
        self._variables[name] = value
        self.changes += 1

    def set_result(self, step: str, value: Value | None) -> None:
        """Give a step its latest result; None says that nobody has looked at it."""
        self._results[step] = value
        self.changes += 1

    def set_aggregate(self, run: int, value: Value) -> None:
        """Give a loop its result."""
        self._aggregates[run] = value

    def set_items(self, run: int, items: Sequence[Json]) -> None:
        """Give a loop its items."""
        self._items[run] = items


def _job(view: View) -> Json:
    own = view.known.execution_id
    return {"uuid": own, "id": own, "execution_id": own}


def _now(view: View) -> Callable[[], datetime]:
    return lambda: datetime.fromtimestamp(view.at, UTC)


RESERVED: Mapping[str, Callable[[View], Json]] = {
    "execution_id": lambda view: view.known.execution_id,
    "catalog_id": lambda view: view.known.catalog_id,
    "job": _job,
    "workload": lambda view: view.workload,
    "payload": lambda view: view.payload,
    "vars": lambda view: view.variables,
    "env": lambda view: view.known.env,
    "spec": lambda view: view.known.spec,
    "steps": lambda view: {step: value.get() for step, value in view.results.items()},
    "now": _now,
}
"""The names that nothing can override, each with the function that gives its value."""


def lookup(view: View, roots: Collection[str]) -> dict[str, Json]:
    """Return a scope of the roots that lead somewhere: reserved names, then step results, variables, workload keys."""
    scope: dict[str, Json] = {}
    for root in roots:
        if root in RESERVED:
            scope[root] = RESERVED[root](view)
        elif (result := view.result(root)) is not None:
            scope[root] = result.get()
        elif root in view.variables:
            scope[root] = view.variables[root]
        elif root in view.workload:
            scope[root] = view.workload[root]
        elif root == "ctx":
            scope[root] = {}
        elif root == "error" and view.cause is not None:
            scope[root] = Problem(view.cause)
    return scope
