"""What a step's rules do when something happens to one of its runs (docs/language, case)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from noetl.engine import pages, retry, sinks
from noetl.engine.plan import NO_RULE, StepPlan
from noetl.engine.turn import Entry, Turn, VariableTooLarge
from noetl.engine.value import Value
from noetl.engine.visit import Visit, scope_of
from noetl.errors import NoetlError
from noetl.playbook.arguments import parse_json_text
from noetl.playbook.error_classes import is_of
from noetl.playbook.model import Call, Collect, Fail, Log, Next, Page, Result, Retry, Rule, Set, Sink, StepRetry, Target

Json = Any


def occur(turn: Turn, visit: Visit, event: str) -> bool:
    """Let the rules see an event: the first match stores its data and writes its sinks, then `vars` are kept, then it moves on.

    Return whether the invocation goes on here; False when a sink has to be done first, or the tool is called again.
    """
    plan = turn.step(visit.run)
    if plan.silent:
        return True
    found = _match(turn, visit, event, plan) if plan.rules_at[event] else None
    if event == "call.error" and plan.step.retry is not None and _repeats(turn, visit, plan.step.retry, found):
        return False
    if found is None:
        return carry_on(turn, visit, NO_RULE, event, 0)
    index, rule = found
    if event == "call.error" and visit.item is not None:
        visit.handled = True
    _store(turn, visit, rule, event)
    return carry_on(turn, visit, index, event, 0)


def carry_on(turn: Turn, visit: Visit, index: int, event: str, number: int) -> bool:
    """Go on with a rule, or with none, from one of its sinks; return as `occur` does."""
    if not turn.failed_here and sinks.issue(turn, visit, index, event, number):
        return False
    return _settled(turn, visit, turn.step(visit.run).step.rules[index] if index != NO_RULE else None, event)


def _settled(turn: Turn, visit: Visit, rule: Rule | None, event: str) -> bool:
    """The data of an event is stored and written: call again, or keep `vars` and move on."""
    plan = turn.step(visit.run)
    if rule is not None and not turn.failed_here and _calls_again(turn, visit, rule, event):
        return False
    if event == "call.done":
        pages.conclude(turn, visit)
    if plan.step.vars and (event == "loop.done" or (event == "call.done" and visit.item is None)):
        _keep_vars(turn, visit, event)
    if rule is not None:
        _move(turn, visit, rule, event)
    return True


def _repeats(turn: Turn, visit: Visit, own: StepRetry, found: tuple[int, Rule] | None) -> bool:
    """Call again as the step's own `retry` says, ahead of what a rule does that has no `retry` itself; return whether it is so."""
    if turn.failing or visit.error is None or visit.command is None or (visit.unwritten and visit.sink is None):
        return False
    if found is not None and any(isinstance(action, Retry) for action in found[1].then):
        return False
    if visit.attempt >= own.retry.max_attempts or is_of(visit.error, own.excepted) or not is_of(visit.error, own.on):
        return False
    retry.again(turn, visit, own.retry)
    return True


def _calls_again(turn: Turn, visit: Visit, rule: Rule, event: str) -> bool:
    """Repeat what has failed, unless the execution has too, or ask for the next page; return whether it is so."""
    may_repeat = visit.error is not None and (visit.sink is not None or not visit.unwritten) and not turn.failing
    for action in rule.then:
        match action:
            case Retry() if may_repeat and visit.command is not None:
                retry.again(turn, visit, action)
                return True
            case Page() if event == "call.done" and visit.command is not None and visit.paging.number < action.max_attempts:
                try:
                    retry.next_page(turn, visit, action, event)
                except NoetlError as error:
                    _fail(turn, visit, error, "`retry`")
                    return False
                return True
            case _:
                pass
    return False


def follow(turn: Turn, visit: Visit) -> None:
    """Take the structural transition of a run that succeeded and that no rule has routed."""
    plan = turn.step(visit.run)
    if plan.step.next:
        _enter(turn, visit, plan.step.next, "loop.done" if plan.step.loop else "step.exit")
    elif plan.step.name != "end" and not plan.routes and "end" in turn.plan.steps and turn.cause is None:
        turn.entering.append(Entry("end", {}, visit.loop_results))


def _match(turn: Turn, visit: Visit, event: str, plan: StepPlan) -> tuple[int, Rule] | None:
    """Return the first rule that holds, with its number, unless it has fired before. A `retry` that is used up does not count."""
    scope = scope_of(turn, visit, event)
    for index, rule in plan.rules_at[event]:
        if turn.plan.templates.truth(rule.when, scope):
            if visit.error is not None and _used_up(rule, visit.attempt):
                continue
            if index in visit.fired:
                return None
            visit.fired.add(index)
            return index, rule
    return None


def _used_up(rule: Rule, attempt: int) -> bool:
    return any(isinstance(action, Retry) and attempt >= action.max_attempts for action in rule.then)


def _store(turn: Turn, visit: Visit, rule: Rule, event: str) -> None:
    """Carry out the actions of a rule that store something, in their order."""
    render = turn.plan.templates.render
    for action in rule.then:
        where = f"`{type(action).__name__.lower()}`"
        try:
            match action:
                case Set(values, merge_ctx):
                    for name, template in values:
                        where = f"`set` of {name}"
                        _set(turn, visit, name, render(template, scope_of(turn, visit, event)))
                    if merge_ctx is not None:
                        where = "`set` of ctx"
                        _set(turn, visit, "ctx", render(merge_ctx, scope_of(turn, visit, event)))
                case Result(value, source):
                    scope = scope_of(turn, visit, event)
                    visit.override = Value.of(turn.plan.templates.resolve(source, scope) if source else render(value, scope))
                    visit.scope = None
                case Log(message):
                    turn.logs.append(str(render(message, scope_of(turn, visit, event))))
                case Collect():
                    pages.collect(turn, visit, action, event)
                case Next() | Call() | Fail() | Retry() | Page() | Sink():
                    pass
                case _:
                    assert_never(action)
        except NoetlError as error:
            _fail(turn, visit, error, where)
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
        try:
            turn.store(name, value, "step_result", visit.run.step)
        except VariableTooLarge as error:
            _fail(turn, visit, error, "`vars`")
            return


def _move(turn: Turn, visit: Visit, rule: Rule, event: str) -> None:
    """Carry out the actions of a rule that move the execution: all its targets are one decision; nothing comes after a `fail`."""
    decided = visit.routed
    for action in rule.then:
        match action:
            case Fail(message):
                try:
                    text = turn.plan.templates.render(message, scope_of(turn, visit, event))
                except NoetlError as error:
                    _fail(turn, visit, error, "`fail`")
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
                _fail(turn, visit, error, f"args of `next` to {target.step}")
                return
        turn.entering.append(Entry(target.step, args, visit.loop_results))


def _fail(turn: Turn, visit: Visit, error: NoetlError, where: str) -> None:
    turn.fail(error.as_error(f"{where}: "), visit.run.step)
