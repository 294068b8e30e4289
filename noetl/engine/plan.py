"""What can be known of a playbook before it runs: which names each step's routing reads, and whether it is cheap to evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from jinja2 import nodes

from noetl.playbook import program
from noetl.playbook.expression import Templates, is_plain, syntax_error
from noetl.playbook.model import Call, Fail, Json, Log, Next, Playbook, Result, Rule, Set, Step, Target
from noetl.playbook.uses import names

Uses = frozenset[tuple[str, str | None]]
EVENTS = ("step.enter", "call.done", "call.error", "step.exit", "loop.done")
AGGREGATE_NAMES = frozenset({"response", "result", "this", "event"})
NOTHING: Uses = frozenset()


@dataclass(frozen=True)
class RulePlan:
    """A rule, and the events at which its `when` can hold at all."""

    rule: Rule
    events: frozenset[str]


class StepPlan:
    """A step, and what its routing reads. `routing` and `plain` include the steps that it can enter."""

    def __init__(self, plan: Plan, step: Step) -> None:
        self._plan = plan
        self.step = step
        self.rules = tuple(RulePlan(rule, _possible_events(rule.when)) for rule in step.rules)
        self.routes = any(isinstance(action, Next | Call) for rule in step.rules for action in rule.then)
        self.own = names([*_own_templates(step)])
        self.own_plain = is_plain([*_own_templates(step)])

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
        """This step and all that can be entered, in one go, when it finishes: its targets, and on through steps that do nothing."""
        seen: dict[str, StepPlan] = {}
        waiting = list(self.targets)
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._plan.steps:
                continue
            seen[name] = self._plan.steps[name]
            if seen[name].step.tool is None or seen[name].step.loop is not None:
                waiting += seen[name].targets
        return tuple(seen.values())

    @cached_property
    def routing(self) -> Uses:
        """The names that may be read when a run of this step finishes."""
        return frozenset(self.own.union(*(plan.entering for plan in self.entered)))

    @cached_property
    def entering(self) -> Uses:
        """The names that may be read when this step is entered."""
        read = names(self.step.loop.items) if self.step.loop else NOTHING
        if self.step.tool is None or self.step.loop is not None or any("step.enter" in rule.events for rule in self.rules):
            read |= self.own
        return read

    @cached_property
    def entering_roots(self) -> frozenset[str]:
        """The names that `loop.in` reads."""
        return frozenset(root for root, _ in names(self.step.loop.items)) if self.step.loop else frozenset()

    @cached_property
    def plain(self) -> bool:
        """Whether finishing this step evaluates plain expressions only."""
        return self.own_plain and all(plan.entering_plain for plan in self.entered)

    @cached_property
    def entering_plain(self) -> bool:
        """Whether entering this step evaluates plain expressions only."""
        return self.own_plain and (self.step.loop is None or is_plain(self.step.loop.items))

    @cached_property
    def reads_aggregate(self) -> bool:
        """Whether closing this step's loop reads the items' results: here, or in what is entered next, as the items of another loop."""
        return any(root in AGGREGATE_NAMES for root, _ in self.own) or any(
            root == self.step.name or (root == "steps" and attribute in (None, self.step.name)) for root, attribute in self.routing
        )

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

    @cached_property
    def starting(self) -> Uses:
        """The names that may be read when an execution starts."""
        start = self.steps["start"]
        return frozenset(names(dict(self.playbook.workload)) | start.entering | (start.routing if start.step.tool is None else NOTHING))

    @cached_property
    def starting_plain(self) -> bool:
        """Whether starting evaluates plain expressions only."""
        start = self.steps["start"]
        return is_plain(dict(self.playbook.workload)) and start.entering_plain and (start.step.tool is not None or start.plain)


def _own_templates(step: Step) -> Iterator[Json]:
    for rule in step.rules:
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
        case Result(value, source):
            yield value
            if source:
                yield "{{ " + source + " }}"
        case Fail(message) | Log(message):
            yield message


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
            expr=nodes.Getattr(node=nodes.Name(name="event"), attr="name"), ops=[nodes.Operand(op="in", expr=nodes.List(items=items))]
        ) if all(isinstance(item, nodes.Const) for item in items):
            return everything & {item.value for item in items if isinstance(item, nodes.Const)}
        case _:
            return everything
