"""What a plan knows of a playbook before it runs."""

from typing import Any

import pytest
from engine_caller import playbook

from noetl.engine.plan import EVENTS, Plan, StepPlan
from noetl.playbook.parse import parse

Json = Any
WORK = {"kind": "python", "code": "result = 1"}


def plan_of(*steps: dict[str, Json], **more: Json) -> Plan:
    return Plan(parse(playbook([{"tool": WORK, **step} if step.pop("works", True) else step for step in steps], **more)))


def start(**words: Json) -> StepPlan:
    return plan_of({"step": "start", **words}, {"step": "b"}).steps["start"]


@pytest.mark.parametrize(
    ("when", "events"),
    [
        ("{{ event.name == 'call.done' }}", {"call.done"}),
        ("{{ event.name == 'call.done' and result.ok }}", {"call.done"}),
        ("{{ result.ok and event.name == 'call.done' }}", {"call.done"}),
        ("{{ event.name in ['call.done', 'step.exit'] }}", {"call.done", "step.exit"}),
        ("{{ event.name in ('call.done', 'step.exit') and true }}", {"call.done", "step.exit"}),
        ("{{ event.name == 'call.done' or event.name == 'loop.done' }}", {"call.done", "loop.done"}),
        ("{{ event.name == 'call.done' or result.ok }}", set(EVENTS)),
        ("{{ event.name == 'call.done' and event.name == 'step.exit' }}", set()),
        ("{{ event.name == 'command.completed' }}", set()),
        ("{{ event.name != 'call.done' }}", set(EVENTS)),
        ("{{ not event.name == 'call.done' }}", set(EVENTS)),
        ("{{ event.name == name }}", set(EVENTS)),
        ("{{ event.name in [name] }}", set(EVENTS)),
        ("event is {{ event.name == 'call.done' }}", set(EVENTS)),
        ("{{ result.ok }}", set(EVENTS)),
        ("true", set(EVENTS)),
        (True, set(EVENTS)),
    ],
)
def test_the_events_at_which_a_rule_can_hold(when: Json, events: set[str]) -> None:
    plan = start(case=[{"when": when, "then": {"log": "x"}}])
    assert plan.rules[0].events == events
    assert {event for event, rules in plan.rules_at.items() if rules} == events


def test_own_names_are_those_of_rules_vars_and_next() -> None:
    plan = start(
        case=[
            {
                "when": "{{ result.n > limit }}",
                "then": [{"set": {"a": "{{ before }}"}}, {"result": {"from": "ctx.pages"}}, {"log": "{{ b.x }}"}],
            }
        ],
        vars={"v": "{{ response }}"},
        next={"step": "b", "args": {"z": "{{ zed[0] }}"}},
    )
    assert plan.own == {("result", "n"), ("limit", None), ("before", None), ("ctx", None), ("b", "x"), ("response", None), ("zed", None)}
    assert plan.own_roots == {"result", "limit", "before", "ctx", "b", "response", "zed"}


def test_a_tool_that_waits_hides_what_comes_after_it() -> None:
    plan = plan_of(
        {"step": "start", "next": "b"},
        {"step": "b", "case": [{"when": "{{ mine }}", "then": {"next": "c"}}]},
        {"step": "c", "loop": {"in": "{{ list }}", "iterator": "i"}},
    )
    assert {root for root, _ in plan.steps["start"].routing} == {"mine", "list"}, "a rule without an event may route at b's step.enter"
    quiet = plan_of(
        {"step": "start", "next": "b"},
        {"step": "b", "case": [{"when": "{{ event.name == 'call.done' and mine }}", "then": {"next": "c"}}]},
        {"step": "c", "loop": {"in": "{{ list }}", "iterator": "i"}},
    )
    assert quiet.steps["start"].routing == frozenset()
    assert {root for root, _ in quiet.steps["b"].routing} == {"event", "mine", "list"}


def test_routing_reads_on_through_empty_loops_and_the_end() -> None:
    plan = plan_of(
        {"step": "start", "next": "b"},
        {"step": "b", "loop": {"in": "{{ one }}", "iterator": "i"}, "next": "c"},
        {"step": "c", "loop": {"in": "{{ two }}", "iterator": "i"}},
        {"step": "end", "works": False, "vars": {"x": "{{ three }}"}},
    )
    assert {root for root, _ in plan.steps["start"].routing} == {"one", "two", "three"}


def test_starting_reads_the_workload_and_what_a_start_without_a_tool_leads_to() -> None:
    steps: list[dict[str, Json]] = [
        {"step": "start", "works": False, "next": "b"},
        {"step": "b", "loop": {"in": "{{ list }}", "iterator": "i"}},
    ]
    plan = plan_of(*steps, workload={"a": "{{ payload.a }}"})
    assert plan.starting == {("payload", "a"), ("list", None)}
    assert plan.starting_plain
    assert not plan_of({"step": "start"}, workload={"a": "{{ 'x' * 100 }}"}).starting_plain
    assert not plan_of(
        {"step": "start", "loop": {"in": [], "iterator": "i"}, "next": {"step": "start", "args": {"a": "{{ 2 ** 9 }}"}}}
    ).starting_plain


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        ({"next": {"step": "b", "args": {"a": "{{ result.a + 1 }}"}}}, True),
        ({"next": {"step": "b", "args": {"a": "{{ result.a * 1 }}"}}}, False),
        ({"case": [{"when": "{{ result | map('upper') | list }}", "then": {"next": "b"}}]}, False),
        ({"vars": {"a": "{% for x in result %}{{ x }}{% endfor %}"}}, False),
    ],
)
def test_what_is_plain(words: dict[str, Json], plain: bool) -> None:
    assert start(**words).plain is plain


def test_what_is_entered_counts_for_being_plain() -> None:
    plan = plan_of({"step": "start", "next": "b"}, {"step": "b", "loop": {"in": "{{ range(9) }}", "iterator": "i"}})
    assert not plan.steps["start"].plain


LOOP = {"in": [1], "iterator": "i"}


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        ({}, False),
        ({"next": "b"}, False),
        ({"vars": {"a": "{{ result.stats }}"}}, True),
        ({"next": {"step": "b", "args": {"a": "{{ start }}"}}}, True),
        ({"next": {"step": "b", "args": {"a": "{{ steps.start.results }}"}}}, True),
        ({"next": {"step": "b", "args": {"a": "{{ steps.b }}"}}}, False),
        ({"case": [{"when": "{{ event.name == 'call.done' and result.ok }}", "then": {"set": {"a": "{{ result }}"}}}]}, False),
        ({"case": [{"when": "{{ event.name == 'loop.done' }}", "then": {"set": {"a": 1}}}]}, False),
        ({"case": [{"when": "{{ event.name == 'loop.done' }}", "then": {"set": {"a": "{{ event.payload }}"}}}]}, True),
        ({"case": [{"when": "{{ event.name == 'loop.done' }}", "then": {"result": {"from": "response.results"}}}]}, True),
        ({"case": [{"when": "{{ result.ok }}", "then": {"log": "x"}}]}, True),
    ],
)
def test_whether_closing_a_loop_reads_the_items_results(words: dict[str, Json], reads: bool) -> None:
    assert start(loop=LOOP, **words).reads_aggregate is reads


@pytest.mark.parametrize("items", ["{{ start.results }}", "{{ loop_results.results }}", "{{ args.loop_results }}"])
def test_the_next_loop_may_read_them(items: str) -> None:
    plan = plan_of({"step": "start", "loop": LOOP, "next": "b"}, {"step": "b", "loop": {"in": items, "iterator": "i"}})
    assert plan.steps["start"].reads_aggregate


def test_whether_an_items_routing_reads_the_item() -> None:
    assert start(loop=LOOP, case=[{"when": "{{ i > 1 }}", "then": {"log": "x"}}]).reads_items
    assert not start(loop=LOOP, case=[{"when": "{{ loop_index > 1 }}", "then": {"log": "x"}}]).reads_items
