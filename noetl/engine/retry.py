"""Calling a tool again: after an error with a delay, after success for the next page (docs/language, retry)."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from typing import Any

from noetl.engine import sinks
from noetl.engine.memo import Paging
from noetl.engine.outcome import Command, Finish
from noetl.engine.turn import Turn
from noetl.engine.visit import Visit, scope_of
from noetl.playbook.model import Page, Retry

Json = Any
LONGEST_RETRY_AFTER = 3600.0
"""Seconds up to which a server's `Retry-After` is believed."""


def delay(retry: Retry, attempt: int, seed: str) -> float:
    """Return the seconds before the call that follows a failed attempt (from 1). Jitter takes up to half away, the same for a seed."""
    try:
        growth = retry.multiplier ** (attempt - 1) if retry.backoff == "exponential" else attempt
    except OverflowError:
        growth = sys.float_info.max
    seconds = min(retry.initial_delay * growth, retry.max_delay)
    if retry.jitter:
        seconds *= 1 - zlib.crc32(f"{seed}:{attempt}".encode()) / 2**33
    return max(0.0, seconds)


def again(turn: Turn, visit: Visit, retry: Retry) -> None:
    """Issue the same call once more, for the same page; or the sink that has failed."""
    assert visit.command is not None
    wait = delay(retry, visit.attempt, f"{turn.view.known.execution_id}:{visit.run.id}:{visit.item}")
    asked = visit.error.get("retry_after") if visit.error is not None else None
    if isinstance(asked, int | float):
        wait = max(wait, min(asked, LONGEST_RETRY_AFTER))
    if visit.sink is not None:
        sinks.again(turn, visit, visit.sink, wait)
        return
    if not visit.ended:
        turn.finished.append(Finish(visit.command, "failed", error=visit.error))
    turn.event("step.enter", visit.run, item=visit.item, command=turn.next_command, detail={"attempt": visit.attempt + 1, "delay": wait})
    _issue(turn, visit, visit.paging, visit.attempt + 1, wait)


def next_page(turn: Turn, visit: Visit, page: Page, event: str) -> None:
    """Issue the call for the next page, with the rule's values over the tool's config."""
    overrides: Mapping[str, Json] = turn.plan.templates.render(dict(page.overrides), scope_of(turn, visit, event))
    assert visit.command is not None
    if not visit.ended:
        turn.finished.append(Finish(visit.command, "done"))
    turn.event("step.enter", visit.run, item=visit.item, command=turn.next_command, detail={"page": visit.paging.number + 1})
    _issue(turn, visit, Paging(visit.paging.number + 1, overrides, visit.collected), 1, 0)


def _issue(turn: Turn, visit: Visit, paging: Paging, attempt: int, wait: float) -> None:
    run = visit.run
    turn.issue(Command(turn.next_command, run.id, run.step, visit.item, visit.args, visit.entered, visit.came_with, attempt, wait, paging))
