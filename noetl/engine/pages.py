"""What the calls of a pagination collect, and the result that is made of it (docs/language, collect)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noetl.engine import outcome
from noetl.engine.turn import Turn
from noetl.engine.value import Value
from noetl.engine.visit import Visit, scope_of
from noetl.playbook.expression import is_template
from noetl.playbook.model import Collect, Step

Json = Any


def reset(turn: Turn, step: Step) -> None:
    """Empty the variables that a run of a step collects into."""
    for rule in step.rules:
        for action in rule.then:
            if isinstance(action, Collect) and action.into:
                turn.store(action.into, None if action.mode == "replace" else [], "computed", step.name)


def collect(turn: Turn, visit: Visit, action: Collect, event: str) -> None:
    """Take a value from a call: for the run's result, and into a variable if one is named."""
    value = _value(turn, visit, action, event)
    tool = turn.step(visit.run).step.tool
    if tool is not None and tool.kind == "http":
        visit.collected += 1
        visit.pages.append(value)
        turn.pages.append(outcome.Page(visit.run.id, visit.item, visit.collected, value))
    if action.into:
        kept = turn.view.variables.get(action.into)
        if action.mode == "replace":
            turn.store(action.into, value, "computed", visit.run.step)
        else:
            turn.store(action.into, [*(kept if isinstance(kept, list) else []), *_flat(value)], "computed", visit.run.step)


def conclude(turn: Turn, visit: Visit) -> None:
    """Make the result of a pagination that collected from http calls, unless a rule gave another."""
    if not visit.collected or visit.override is not None or visit.response is None:
        return
    earlier = turn.view.known.pages.get((visit.run.id, visit.item), ())[: visit.collected - len(visit.pages)]
    visit.response = visit.override = Value.of(paginated(visit.response.get(), [*earlier, *visit.pages]))
    visit.scope = None


def paginated(last: Json, pages: Sequence[Json]) -> dict[str, Json]:
    """Return the last envelope with all pages' items in place of its data."""
    items = [item for page in pages for item in _flat(page)]
    envelope = dict(last) if isinstance(last, Mapping) else {"original_result": last}
    summary = {"pages_collected": len(pages), "all_items": list(pages)}
    return {**envelope, "data": items, "_all_collected_items": items, "_pagination": summary}


def _value(turn: Turn, visit: Visit, action: Collect, event: str) -> Json:
    if action.path is not None:
        response = visit.response.get() if visit.response is not None else None
        return _at(response, action.path)
    scope = scope_of(turn, visit, event)
    if action.source is None:
        return visit.response.get() if visit.response is not None else None
    if isinstance(action.source, str) and not is_template(action.source):
        return turn.plan.templates.resolve(action.source, scope)
    return turn.plan.templates.render(action.source, scope)


def _at(response: Json, path: str) -> Json:
    """Follow a dotted path: in the body of an http envelope first, then in the envelope; None where it leads nowhere."""
    body = response.get("data") if isinstance(response, Mapping) else None
    for start in (body, response):
        found = start
        for part in path.split("."):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                break
        else:
            return found
    return None


def _flat(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]
