"""What a step's rules do when something happens to one of its runs (docs/language, case)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, assert_never

from noetl.engine.scope import lookup
from noetl.engine.state import Run
from noetl.engine.turn import Entry, Turn
from noetl.engine.value import Value
from noetl.errors import NoetlError
from noetl.playbook.expression import Problem
from noetl.playbook.model import Call, Fail, Log, Next, Result, Rule, Set, Target

Json = Any


@dataclass
class Visit:
    """One invocation of a run's tool, or the whole loop at `loop.done`: what happened to it and which rules have fired."""

    run: Run
    command: int | None = None
    item: int | None = None
    response: Value | None = None
    error: Mapping[str, Json] | None = None
    fired: set[int] = field(default_factory=set)
    matched: bool = False
    routed: bool = False
    override: Value | None = None
    loop_results: int | None = None

    @property
    def result(self) -> Value | None:
        """The step's result as it stands: what the tool returned, unless a rule replaced it."""
        return self.override or self.response


def occur(turn: Turn, visit: Visit, event: str) -> None:
    """Let the rules see an event: the first match stores its data, then `vars` are kept, then it moves on."""
    plan = turn.step(visit.run)
    scope: dict[str, Json] | None = None
    rule = None
    if any(event in candidate.events for candidate in plan.rules):
        scope = scope_of(turn, visit, event)
        rule = _match(turn, visit, event, scope)
    if rule is not None:
        visit.matched = True
        _store(turn, visit, rule, event)
    if visit.error is None and plan.step.vars and (event == "loop.done" or (event == "call.done" and visit.item is None)):
        _keep_vars(turn, visit, event)
    if rule is not None:
        _move(turn, visit, rule, event)


def follow(turn: Turn, visit: Visit) -> None:
    """Take the structural transition of a run that succeeded and that no rule has routed."""
    step = turn.step(visit.run).step
    if step.next:
        _enter(turn, visit, step.next, "loop.done" if step.loop else "step.exit")
    elif step.name != "end" and not turn.step(visit.run).routes and "end" in turn.plan.steps:
        turn.entering.append(Entry("end", {}, visit.loop_results))


def scope_of(turn: Turn, visit: Visit, event: str) -> dict[str, Json]:
    """Return the names that this step's templates see at an event."""
    plan = turn.step(visit.run)
    uses = plan.own
    roots = frozenset(root for root, _ in uses)
    scope = lookup(turn.known, turn.at, roots)
    if visit.result is not None:
        for name in ("response", "result", visit.run.step):
            if name in roots:
                scope[name] = visit.result.get()
    elif visit.error is not None:
        scope.pop(visit.run.step, None)
    if visit.error is not None:
        scope["error"] = Problem(visit.error)
    if "event" in roots:
        scope["event"] = {
            "name": event,
            "step": visit.run.step,
            "timestamp": datetime.fromtimestamp(turn.at, UTC).isoformat(),
            "payload": _event_payload(visit) if {("event", "payload"), ("event", None)} & uses else None,
        }
    if visit.item is not None and visit.run.loop is not None and plan.step.loop is not None:
        scope |= item_names(turn, visit, plan.step.loop.iterator, roots)
    return scope


def item_names(turn: Turn, visit: Visit, iterator: str, roots: frozenset[str]) -> dict[str, Json]:
    """Return the names of the current item of a loop."""
    assert visit.item is not None and visit.run.loop is not None
    names: dict[str, Json] = {"loop_index": visit.item, "loop": loop_names(visit.item, visit.run.loop.total)}
    if iterator in roots:
        names[iterator] = turn.known.items[visit.run.id][visit.item]
    return names


def loop_names(index: int, total: int) -> dict[str, Json]:
    """Return what templates see as `loop`."""
    return {"index": index, "first": index == 0, "last": index == total - 1, "length": total}


def _event_payload(visit: Visit) -> Json:
    if visit.error is not None:
        return {"error": Problem(visit.error)}
    return visit.result.get() if visit.result is not None else None


def _match(turn: Turn, visit: Visit, event: str, scope: dict[str, Json]) -> Rule | None:
    for index, candidate in enumerate(turn.step(visit.run).rules):
        if event in candidate.events and turn.plan.templates.truth(candidate.rule.when, scope):
            if index in visit.fired:
                return None
            visit.fired.add(index)
            return candidate.rule
    return None


def _store(turn: Turn, visit: Visit, rule: Rule, event: str) -> None:
    templates = turn.plan.templates
    for action in rule.then:
        try:
            match action:
                case Set(values, merge_ctx):
                    for name, template in values:
                        turn.store(name, templates.render(template, scope_of(turn, visit, event)), "computed", visit.run.step)
                    if merge_ctx is not None:
                        merged = templates.render(merge_ctx, scope_of(turn, visit, event))
                        ctx = turn.known.variables.get("ctx")
                        turn.store("ctx", {**(ctx if isinstance(ctx, dict) else {}), **merged}, "computed", visit.run.step)
                case Result(value, source):
                    scope = scope_of(turn, visit, event)
                    visit.override = Value.of(templates.resolve(source, scope) if source else templates.render(value, scope))
                case Log(message):
                    turn.logs.append(str(templates.render(message, scope_of(turn, visit, event))))
                case Next() | Call() | Fail():
                    pass
                case _:
                    assert_never(action)
        except NoetlError as error:
            _fail(turn, visit, error)
            return


def _keep_vars(turn: Turn, visit: Visit, event: str) -> None:
    from noetl.playbook.uses import parse_json_text

    kept: dict[str, Json] = {}
    scope = scope_of(turn, visit, event)
    for name, template in turn.step(visit.run).step.vars:
        try:
            kept[name] = parse_json_text(turn.plan.templates.render(template, scope))
        except NoetlError as error:
            turn.logs.append(f"step {visit.run.step}: variable {name} is not kept: {error.message}")
    for name, value in kept.items():
        turn.store(name, value, "step_result", visit.run.step)


def _move(turn: Turn, visit: Visit, rule: Rule, event: str) -> None:
    for action in rule.then:
        match action:
            case Fail(message):
                try:
                    text = turn.plan.templates.render(message, scope_of(turn, visit, event))
                except NoetlError as error:
                    _fail(turn, visit, error)
                    return
                turn.fail({"message": f"step {visit.run.step} failed" if text in (None, True) else str(text), "type": "fail"}, visit.run.step)
                return
            case Next(targets) if not visit.routed:
                _enter(turn, visit, targets, event)
            case Call(target) if not visit.routed:
                _enter(turn, visit, (target,), event)
            case _:
                pass
    if any(isinstance(action, Next | Call) for action in rule.then):
        visit.routed = True


def _enter(turn: Turn, visit: Visit, targets: tuple[Target, ...], event: str) -> None:
    scope: dict[str, Json] | None = None
    for target in targets:
        args: Mapping[str, Json] = {}
        if target.args:
            scope = scope or scope_of(turn, visit, event)
            try:
                args = turn.plan.templates.render(dict(target.args), scope)
            except NoetlError as error:
                _fail(turn, visit, error)
                return
        turn.entering.append(Entry(target.step, args, visit.loop_results))


def _fail(turn: Turn, visit: Visit, error: NoetlError) -> None:
    turn.fail({"message": error.message, "type": error.code}, visit.run.step)
