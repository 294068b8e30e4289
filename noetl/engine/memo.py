"""What a command carries with it, so that the state need not: where a pagination is, and what a sink interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.record import record

Json = Any


@record
class Paging:
    """Where a pagination is: this call's number from 1, what its rule has put over the tool's config, the pages collected before."""

    number: int = 1
    overrides: Mapping[str, Json] | None = None
    collected: int = 0


FIRST = Paging()
"""The first call."""


@record
class SinkPoint:
    """What goes on once a sink is done: the command whose result it writes, the event and the rule that it belongs to, its place there.

    `command` is 0 where there is none: at `loop.done`, and for a step that does nothing. The rest is as the visit was; `replaced` says that
    a rule gave the result, `problem` is the failure of an earlier sink that this one's rule deals with.
    """

    command: int
    event: str
    rule: int
    number: int
    paging: Paging = FIRST
    attempt: int = 1
    collected: int = 0
    routed: bool = False
    handled: bool = False
    fired: tuple[int, ...] = ()
    replaced: bool = False
    problem: Mapping[str, Json] | None = None


def encode(paging: Paging, sink: SinkPoint | None) -> dict[str, Json]:
    """Return as JSON what is not as it is for a command's first call; `decode_paging` and `decode_sink` read it back."""
    document: dict[str, Json] = {}
    if paging != FIRST:
        document["paging"] = _paging(paging)
    if sink is not None:
        where = [sink.command, sink.event, sink.rule, sink.number]
        visit = [sink.attempt, sink.collected, sink.routed, sink.handled, list(sink.fired), sink.replaced]
        document["sink"] = [*where, _paging(sink.paging), *visit, None if sink.problem is None else dict(sink.problem)]
    return document


def decode_paging(document: Mapping[str, Json]) -> Paging:
    """Read where a pagination is."""
    found = document.get("paging")
    return Paging(*found) if found else FIRST


def decode_sink(document: Mapping[str, Json]) -> SinkPoint | None:
    """Read what a sink interrupted, if it is one."""
    found = document.get("sink")
    if not found:
        return None
    command, event, rule, number, paging, attempt, collected, routed, handled, fired, *rest = found
    return SinkPoint(command, event, rule, number, Paging(*paging), attempt, collected, routed, handled, tuple(fired), *rest)


def _paging(paging: Paging) -> list[Json]:
    return [paging.number, None if paging.overrides is None else dict(paging.overrides), paging.collected]
