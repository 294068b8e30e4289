"""What names lead to."""

from datetime import UTC, datetime

import pytest

from noetl.engine.scope import RESERVED, Known, View, lookup
from noetl.engine.value import Value


def known() -> Known:
    return Known(
        execution_id="7",
        catalog_id="8",
        workload={"a": "workload", "b": "workload", "c": "workload", "execution_id": "mine", "vars": "mine"},
        payload={"p": 1},
        variables={"a": "variable", "b": "variable", "job": "mine", "env": "mine"},
        results={"a": Value.of("result"), "steps": Value.of("mine")},
        env={"HOME": "/home/me"},
        spec={"x": 1},
    )


def test_results_win_over_variables_and_those_over_the_workload() -> None:
    assert lookup(View(known(), 0), {"a", "b", "c", "d"}) == {"a": "result", "b": "variable", "c": "workload"}


def test_nothing_overrides_a_reserved_name() -> None:
    data = known()
    scope = lookup(View(data, 5.0), RESERVED)
    assert scope.keys() == RESERVED.keys()
    assert scope.pop("now")() == datetime.fromtimestamp(5, UTC)
    assert scope == {
        "execution_id": "7",
        "catalog_id": "8",
        "job": {"uuid": "7", "id": "7", "execution_id": "7"},
        "workload": data.workload,
        "payload": {"p": 1},
        "vars": data.variables,
        "env": {"HOME": "/home/me"},
        "spec": {"x": 1},
        "steps": {"a": "result", "steps": "mine"},
    }


@pytest.mark.parametrize(("variables", "workload", "ctx"), [({}, {}, {}), ({}, {"ctx": 1}, 1), ({"ctx": {"x": 1}}, {"ctx": 1}, {"x": 1})])
def test_ctx_is_always_there(variables: dict[str, object], workload: dict[str, object], ctx: object) -> None:
    assert lookup(View(Known("7", "8", variables=variables, workload=workload), 0), {"ctx"}) == {"ctx": ctx}


def test_changes_are_seen_and_leave_what_is_known_alone() -> None:
    data = known()
    view = View(data, 0)
    view.set_variable("b", "changed")
    view.set_variable("new", 1)
    view.set_result("c", Value.of("changed"))
    view.set_result("a", None)
    assert view.changes == 4
    assert lookup(view, {"a", "b", "c", "new"}) == {"a": "variable", "b": "changed", "c": "changed", "new": 1}
    assert lookup(view, {"steps"}) == {"steps": {"c": "changed", "steps": "mine"}}
    assert data == known()


def test_loops_are_those_known_and_those_of_this_input() -> None:
    view = View(Known("7", "8", aggregates={1: Value.of("one")}, items={1: [1]}), 0)
    view.set_aggregate(2, Value.of("two"))
    view.set_items(2, [2])
    assert [view.aggregate(run) for run in (1, 2, 3)] == [Value.of("one"), Value.of("two"), None]
    assert [view.items(run) for run in (1, 2)] == [[1], [2]]
