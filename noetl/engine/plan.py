"""What can be known of a playbook before it runs: which names each step's routing reads, and whether it is cheap to evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from jinja2 import nodes

from noetl.engine.state import State
from noetl.playbook import program
from noetl.playbook.expression import Templates, is_plain, is_template, syntax_error
from noetl.playbook.model import Call, Collect, Fail, Json, Log, Next, Page, Playbook, Result, Rule, Set, Step, Target
from noetl.playbook.own_file import works_on_own_file
from noetl.playbook.sinks import sinks_of
from noetl.playbook.uses import names

Uses = frozenset[tuple[str, str | None]]
EVENTS = ("step.enter", "call.done", "call.error", "step.exit", "loop.done")
AGGREGATE_NAMES = frozenset({"response", "result", "this"})
EVENT_PAYLOAD: Uses = frozenset({("event", "payload"), ("event", None)})
NOTHING: Uses = frozenset()
NO_RULE = -1
"""In place of a rule's number: what a step does at an event without any."""
DEFAULT_POOL = "default"
"""The pool in which steps run, unless they or their playbook say otherwise."""


@dataclass(frozen=True)
class RulePlan:
    """A rule, and the events at which its `when` can hold at all."""

    rule: Rule
    events: frozenset[str]


class StepPlan:
    """A step, and what its routing reads. `routing` and `plain` include the steps that it can enter.

    `rules_at` has for each event the rules that may hold at it, with their numbers.
    """

    def __init__(self, plan: Plan, step: Step) -> None:
        self._plan = plan
        self.step = step
        self.rules = tuple(RulePlan(rule, _possible_events(rule.when)) for rule in step.rules)
        self.rules_at: dict[str, tuple[tuple[int, Rule], ...]] = {
            event: tuple((index, candidate.rule) for index, candidate in enumerate(self.rules) if event in candidate.events)
            for event in EVENTS
        }
        self.routing_rules = frozenset(index for index, rule in enumerate(step.rules) if _routes(rule))
        self.routes = bool(self.routing_rules)
        self.own = _uses(step, step.rules)
        self.own_roots = frozenset(root for root, _ in self.own)
        self.own_plain = is_plain([*_own_templates(step, step.rules)])
        self.pool = step.pool or plan.playbook.pool or DEFAULT_POOL
        self.reads_event_payload = not self.own.isdisjoint(EVENT_PAYLOAD)
        self.silent = not (step.rules or step.vars or step.retry or sinks_of(step, NO_RULE))
        """Whether nothing is done at any of its events."""

    @property
    def passes(self) -> bool:
        """Whether entering this step may enter others at once: it does nothing, may be skipped, loops, or a rule says so at the start."""
        at_enter = any(index in self.routing_rules for index, _ in self.rules_at["step.enter"])
        return self.step.tool is None or self.step.loop is not None or self.step.when is not None or at_enter

    @cached_property
    def targets(self) -> frozenset[str]:
        """The steps that this one can enter."""
        found = {target.step for target in self.step.next}
        for rule in self.step.rules:
            for action in rule.then:
                if isinstance(action, Next):
                    found |= {target.step for target in action.targets}
                elif isinstance(action, Call):
                    found.add(action.target.step)
        return frozenset(found | ({"end"} & self._plan.steps.keys()))

    @cached_property
    def entered(self) -> tuple[StepPlan, ...]:
        """All that can be entered, in one go, when this step finishes: its targets, and on through steps that are passed at once."""
        seen: dict[str, StepPlan] = {}
        waiting = list(self.targets)
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._plan.steps:
                continue
            seen[name] = self._plan.steps[name]
            if seen[name].passes:
                waiting += seen[name].targets
        return tuple(seen.values())

    @cached_property
    def routing(self) -> Uses:
        """The names that may be read when a run of this step finishes."""
        return frozenset(self.own.union(*(plan.entering for plan in self.entered)))

    @cached_property
    def entering(self) -> Uses:
        """The names that may be read when this step is entered."""
        read = names(self._entering_templates)
        if self.passes or self.rules_at["step.enter"]:
            read |= self.own
        return read

    @cached_property
    def entering_roots(self) -> frozenset[str]:
        """The names that `when` and `loop` read."""
        return frozenset(root for root, _ in names(self._entering_templates))

    @cached_property
    def entering_results(self) -> bool:
        """Whether `when` or `loop` reads `loop_results`: by its name, or with all of `args`."""
        read = names(self._entering_templates)
        return any(root == "loop_results" or (root == "args" and attribute in (None, "loop_results")) for root, attribute in read)

    @property
    def _entering_templates(self) -> list[Json]:
        loop = self.step.loop
        return [self.step.when, *((loop.items, loop.limit) if loop is not None else ())]

    @cached_property
    def plain(self) -> bool:
        """Whether finishing this step evaluates plain expressions only."""
        return self.own_plain and all(plan.entering_plain for plan in self.entered)

    @cached_property
    def entering_plain(self) -> bool:
        """Whether entering this step evaluates plain expressions only."""
        return self.own_plain and is_plain(self._entering_templates)

    @cached_property
    def reads_aggregate(self) -> bool:
        """Whether closing this step's loop reads the items' results: here, or in what is entered next, as the items of another loop."""
        closing = _uses(self.step, [rule for _, rule in self.rules_at["loop.done"]])
        if not EVENT_PAYLOAD.isdisjoint(closing) or any(root in AGGREGATE_NAMES for root, _ in closing):
            return True
        if any(plan.entering_results for plan in self.entered):
            return True
        read = closing.union(*(plan.entering for plan in self.entered))
        return any(root == self.step.name or (root == "steps" and attribute in (None, self.step.name)) for root, attribute in read)

    @cached_property
    def reads_items(self) -> bool:
        """Whether the routing of one item reads the item itself."""
        loop = self.step.loop
        return loop is not None and any(root == loop.iterator for root, _ in self.own)


class Plan:
    """A playbook with its compiled templates and what is known of its steps."""

    def __init__(self, playbook: Playbook) -> None:
        self.playbook = playbook
        self.templates = Templates({*playbook.steps, "response", "result", "this", "data"})
        self.steps: dict[str, StepPlan] = {}
        self.steps.update({name: StepPlan(self, step) for name, step in playbook.steps.items()})
        self.step_names = frozenset(playbook.steps)
        self.has_children = any(step.tool is not None and step.tool.kind in ("playbook", "playbooks") for step in playbook.steps.values())

        self.file_pools = frozenset(plan.pool for plan in self.steps.values() if works_on_own_file(plan.step))
        """The pools of the steps that work on the execution's own file."""
        self.timed = any(step.timeout.total is not None for step in playbook.steps.values())

    def waking(self, state: State) -> tuple[Uses, bool]:
        """Return the names that may be read at a Wake, and whether only plain expressions are evaluated then."""
        if not state.runs:
            return self._concluding if state.failure is None else self._rescuing
        steps = [self.steps[run.step] for run in state.runs.values() if run.loop is not None or run.until is not None]
        return frozenset().union(*(step.routing for step in steps)), all(step.plain for step in steps)

    @cached_property
    def _concluding(self) -> tuple[Uses, bool]:
        return names(self.playbook.output), is_plain(self.playbook.output)

    @cached_property
    def _rescuing(self) -> tuple[Uses, bool]:
        target = self.playbook.on_failure
        if target is None:
            return NOTHING, True
        step, args = self.steps[target.step], dict(target.args)
        uses = names(args) | step.entering | (step.routing if step.passes else NOTHING)
        return uses, is_plain(args) and step.entering_plain and (not step.passes or step.plain)

    @cached_property
    def workload_order(self) -> tuple[str, ...]:
        """The keys of the workload that have templates, each after those that it reads; last those that read one another."""
        own = {key: value for key, value in self.playbook.workload.items() if is_template(value)}
        reads = {key: {name if root == "workload" else root for root, name in names(value)} for key, value in own.items()}
        # None stands for the whole workload, for those that read all of it.
        ahead: dict[str | None, set[str | None]] = {key: read & {None} or (read & own.keys()) - {key} for key, read in reads.items()}
        ahead[None] = {key for key, read in reads.items() if None not in read}
        sorter = TopologicalSorter(ahead)
        order: dict[str | None, None] = {}
        with suppress(CycleError):
            sorter.prepare()
        while ready := sorter.get_ready():
            order.update(dict.fromkeys(ready))
            sorter.done(*ready)
        order.update(dict.fromkeys(own))
        return tuple(key for key in order if key is not None)

    @cached_property
    def starting(self) -> Uses:
        """The names that may be read when an execution starts."""
        start = self.steps["start"]
        return frozenset(names(dict(self.playbook.workload)) | start.entering | (start.routing if start.passes else NOTHING))

    @cached_property
    def starting_plain(self) -> bool:
        """Whether starting evaluates plain expressions only."""
        start = self.steps["start"]
        return is_plain(dict(self.playbook.workload)) and start.entering_plain and (not start.passes or start.plain)


def _routes(rule: Rule) -> bool:
    return any(isinstance(action, Next | Call) for action in rule.then)


def _uses(step: Step, rules: Iterable[Rule]) -> Uses:
    """Return the names that these rules of a step read, its `vars` and its `next`."""
    dotted = [action.source for rule in rules for action in rule.then if isinstance(action, Result | Collect)]
    sources = {(source.strip().split(".")[0], None) for source in dotted if isinstance(source, str) and source and not is_template(source)}
    into = {(action.into, None) for rule in rules for action in rule.then if isinstance(action, Collect) and action.into}
    return names([*_own_templates(step, rules)]) | sources | into


def _own_templates(step: Step, rules: Iterable[Rule]) -> Iterator[Json]:
    for rule in rules:
        yield rule.when if isinstance(rule.when, str) else None
        for action in rule.then:
            yield from _action_templates(action)
    for _, template in step.vars:
        yield template
    for target in step.next:
        yield dict(target.args)


def _action_templates(action: object) -> Iterator[Json]:
    match action:
        case Next(targets):
            yield from (dict(target.args) for target in targets)
        case Call(Target(_, args)):
            yield dict(args)
        case Set(values, merge_ctx):
            yield from (template for _, template in values)
            yield merge_ctx
        case Result(value):
            yield value
        case Fail(message) | Log(message):
            yield message
        case Page(overrides):
            yield dict(overrides)
        case Collect():
            yield action.source


def _possible_events(when: Json) -> frozenset[str]:
    """Return the events at which `when` can hold, read from its `event.name == '…'` and `event.name in […]` conditions."""
    everything = frozenset(EVENTS)
    if not isinstance(when, str) or syntax_error(when):
        return everything
    expression = program.lone_expression(program.parse(when.strip()))
    return everything if expression is None else _events_of(expression, everything)


def _events_of(node: nodes.Node, everything: frozenset[str]) -> frozenset[str]:
    match node:
        case nodes.And():
            return _events_of(node.left, everything) & _events_of(node.right, everything)
        case nodes.Or():
            return _events_of(node.left, everything) | _events_of(node.right, everything)
        case nodes.Compare(
            expr=nodes.Getattr(node=nodes.Name(name="event"), attr="name"), ops=[nodes.Operand(op="eq", expr=nodes.Const(value=str(name)))]
        ):
            return everything & {name}
        case nodes.Compare(
            expr=nodes.Getattr(node=nodes.Name(name="event"), attr="name"),
            ops=[nodes.Operand(op="in", expr=nodes.List(items=items) | nodes.Tuple(items=items))],
        ) if all(isinstance(item, nodes.Const) for item in items):
            return everything & {item.value for item in items if isinstance(item, nodes.Const)}
        case _:
            return everything
