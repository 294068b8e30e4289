"""What a step's rules do when something happens to one of its runs (docs/language, case)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, assert_never

from noetl.engine.plan import StepPlan
from noetl.engine.scope import lookup
from noetl.engine.state import Run
from noetl.engine.turn import Entry, Turn
from noetl.engine.value import Value
from noetl.errors import NoetlError
from noetl.playbook.arguments import parse_json_text
from noetl.playbook.expression import Problem
from noetl.playbook.model import Call, Fail, Log, Next, Result, Rule, Set, Target

Json = Any


@dataclass(slots=True)
class Visit:
    """One invocation of a run's tool, or the whole loop at `loop.done`: what happened to it and which rules have fired.

    `routed` says that a rule has decided where the run goes, `handled` that a rule has dealt with its failure.
    """

    run: Run
    item: int | None = None
    response: Value | None = None
    error: Mapping[str, Json] | None = None
    fired: set[int] = field(default_factory=set)
    routed: bool = False
    handled: bool = False
    override: Value | None = None
    loop_results: int | None = None
    scope: tuple[str, int, dict[str, Json]] | None = None

    @property
    def result(self) -> Value | None:
        """The step's result as it stands: what the tool returned, unless a rule replaced it."""
        return self.override or self.response


def occur(turn: Turn, visit: Visit, event: str) -> None:
    """Let the rules see an event: the first match stores its data, then `vars` are kept, then it moves on."""
    plan = turn.step(visit.run)
    rule = _match(turn, visit, event, plan) if plan.rules_at[event] else None
    if rule is not None:
        if event == "call.error" and visit.item is not None:
            visit.handled = True
        _store(turn, visit, rule, event)
    if plan.step.vars and (event == "loop.done" or (event == "call.done" and visit.item is None)):
        _keep_vars(turn, visit, event)
    if rule is not None:
        _move(turn, visit, rule, event)


def follow(turn: Turn, visit: Visit) -> None:
    """Take the structural transition of a run that succeeded and that no rule has routed."""
    plan = turn.step(visit.run)
    if plan.step.next:
        _enter(turn, visit, plan.step.next, "loop.done" if plan.step.loop else "step.exit")
    elif plan.step.name != "end" and not plan.routes and "end" in turn.plan.steps:
        turn.entering.append(Entry("end", {}, visit.loop_results))


def scope_of(turn: Turn, visit: Visit, event: str) -> dict[str, Json]:
    """Return the names that this step's templates see at an event."""
    if visit.scope is not None and visit.scope[0] == event and visit.scope[1] == turn.view.changes:
        return visit.scope[2]
    plan = turn.step(visit.run)
    roots = plan.own_roots
    scope = lookup(turn.view, roots)
    result = visit.result
    if result is not None:
        for name in ("response", "result", visit.run.step):
            if name in roots:
                scope[name] = result.get()
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
    if visit.item is not None and visit.run.loop is not None and plan.step.loop is not None:
        scope |= item_names(turn, visit.run, visit.item, plan.step.loop.iterator, roots)
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
    return visit.result.get() if visit.result is not None else None


def _match(turn: Turn, visit: Visit, event: str, plan: StepPlan) -> Rule | None:
    """Return the first rule that holds, unless it has fired before."""
    scope = scope_of(turn, visit, event)
    for index, rule in plan.rules_at[event]:
        if turn.plan.templates.truth(rule.when, scope):
            if index in visit.fired:
                return None
            visit.fired.add(index)
            return rule
    return None


def _store(turn: Turn, visit: Visit, rule: Rule, event: str) -> None:
    """Carry out the actions of a rule that store something, in their order."""
    render = turn.plan.templates.render
    for action in rule.then:
        try:
            match action:
                case Set(values, merge_ctx):
                    for name, template in values:
                        _set(turn, visit, name, render(template, scope_of(turn, visit, event)))
                    if merge_ctx is not None:
                        _set(turn, visit, "ctx", render(merge_ctx, scope_of(turn, visit, event)))
                case Result(value, source):
                    scope = scope_of(turn, visit, event)
                    visit.override = Value.of(turn.plan.templates.resolve(source, scope) if source else render(value, scope))
                    visit.scope = None
                case Log(message):
                    turn.logs.append(str(render(message, scope_of(turn, visit, event))))
                case Next() | Call() | Fail():
                    pass
                case _:
                    assert_never(action)
        except NoetlError as error:
            _fail(turn, visit, error)
            return


def _set(turn: Turn, visit: Visit, name: str, value: Json) -> None:
    """Set a variable; a mapping given to `ctx` is merged into it."""
    ctx = turn.view.variables.get("ctx") if name == "ctx" else None
    if isinstance(ctx, dict) and isinstance(value, Mapping):
        value = {**ctx, **value}
    turn.store(name, value, "computed", visit.run.step)


def _keep_vars(turn: Turn, visit: Visit, event: str) -> None:
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
    """Carry out the actions of a rule that move the execution: all its targets are one decision; nothing comes after a `fail`."""
    decided = visit.routed
    for action in rule.then:
        match action:
            case Fail(message):
                try:
                    text = turn.plan.templates.render(message, scope_of(turn, visit, event))
                except NoetlError as error:
                    _fail(turn, visit, error)
                    return
                said = f"step {visit.run.step} failed" if text in (None, True) else str(text)
                turn.fail({"message": said, "type": "fail"}, visit.run.step)
                return
            case Next() | Call():
                visit.routed = True
                visit.handled = visit.error is not None
                if not decided:
                    _enter(turn, visit, action.targets if isinstance(action, Next) else (action.target,), event)
            case _:
                pass


def _enter(turn: Turn, visit: Visit, targets: tuple[Target, ...], event: str) -> None:
    for target in targets:
        args: Mapping[str, Json] = {}
        if target.args:
            try:
                args = turn.plan.templates.render(target.args, scope_of(turn, visit, event))
            except NoetlError as error:
                _fail(turn, visit, error)
                return
        turn.entering.append(Entry(target.step, args, visit.loop_results))


def _fail(turn: Turn, visit: Visit, error: NoetlError) -> None:
    turn.fail({"message": error.message, "type": error.code}, visit.run.step)
