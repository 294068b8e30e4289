"""One invocation of a run's tool as the rules see it, and the names that their templates have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from noetl.engine.memo import FIRST, Paging, SinkPoint
from noetl.engine.scope import lookup
from noetl.engine.state import Run
from noetl.engine.turn import Turn
from noetl.engine.value import Value
from noetl.playbook.expression import Problem

Json = Any


@dataclass(slots=True)
class Visit:
    """One invocation of a run's tool, or the whole loop at `loop.done`: what happened to it and which rules have fired.

    `routed` says that a rule has decided where the run goes, `handled` that a rule has dealt with its failure, `ended` that the command's
    row is written already. `loop_results` goes with the transitions to come, `came_with` came with the one that led here. `pages` are what
    this call has collected, `collected` how many the whole pagination has. `entered` are the rules that fired at an item's `step.enter`,
    `sink` is the one that has just failed, `unwritten` says that the failure is a sink's.
    """

    run: Run
    item: int | None = None
    command: int | None = None
    response: Value | None = None
    error: Mapping[str, Json] | None = None
    fired: set[int] = field(default_factory=set)
    routed: bool = False
    handled: bool = False
    override: Value | None = None
    loop_results: int | None = None
    args: Mapping[str, Json] = field(default_factory=dict)
    came_with: int | None = None
    attempt: int = 1
    paging: Paging = FIRST
    collected: int = 0
    pages: list[Json] = field(default_factory=list)
    ended: bool = False
    entered: tuple[int, ...] = ()
    sink: SinkPoint | None = None
    unwritten: bool = False
    scope: tuple[str, int, dict[str, Json]] | None = None

    @property
    def result(self) -> Value | None:
        """The step's result as it stands: what the tool returned, unless a rule replaced it."""
        return self.override or self.response


def scope_of(turn: Turn, visit: Visit, event: str) -> dict[str, Json]:
    """Return the names that this step's templates see at an event."""
    if visit.scope is not None and visit.scope[0] == event and visit.scope[1] == turn.view.changes:
        return visit.scope[2]
    plan = turn.step(visit.run)
    roots = plan.own_roots
    scope = lookup(turn.view, roots)
    if visit.response is not None:
        for name in ("response", "result"):
            if name in roots:
                scope[name] = visit.response.get()
    if visit.result is not None:
        if visit.run.step in roots:
            scope[visit.run.step] = visit.result.get()
    elif visit.error is not None:
        scope.pop(visit.run.step, None)
    if visit.error is not None:
        scope["error"] = Problem(visit.error)
    if "event" in roots:
        scope["event"] = {
            "name": event,
            "step": visit.run.step,
            "timestamp": datetime.fromtimestamp(turn.at, UTC).isoformat(),
            "payload": _event_payload(visit) if plan.reads_event_payload else None,
        }
    loop = visit.run.loop
    if loop is not None and plan.step.loop is not None:
        if visit.item is not None:
            scope |= item_names(turn, visit.run, visit.item, plan.step.loop.iterator, roots)
        elif "loop" in roots:
            scope["loop"] = {"length": loop.total, "total": loop.total, "success": loop.done, "failed": loop.failed}
    if "attempt" in roots and event in ("call.done", "call.error", "step.exit"):
        scope.setdefault("attempt", visit.attempt)
    visit.scope = (event, turn.view.changes, scope)
    return scope


def item_names(turn: Turn, run: Run, item: int, iterator: str, roots: Collection[str]) -> dict[str, Json]:
    """Return the names of the current item of a loop."""
    assert run.loop is not None
    names: dict[str, Json] = {"loop_index": item, "loop": loop_names(item, run.loop.total)}
    if iterator in roots:
        names[iterator] = turn.view.items(run.id)[item]
    return names


def loop_names(index: int, total: int) -> dict[str, Json]:
    """Return what templates see as `loop`."""
    return {"index": index, "first": index == 0, "last": index == total - 1, "length": total}


def _event_payload(visit: Visit) -> Json:
    if visit.error is not None:
        return {"error": Problem(visit.error)}
    return visit.response.get() if visit.response is not None else None
