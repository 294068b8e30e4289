"""Which args a tool gets, and which a python main."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

import pytest

from noetl.playbook.arguments import MissingArgument, effective_args, parse_json_text, python_arguments
from noetl.playbook.python_code import main_parameters


def arguments(signature: str, args: dict[str, Any], scope: Any = None, lazy: tuple[str, ...] = ()) -> dict[str, Any]:
    parameters = main_parameters(f"def main({signature}): pass")
    assert parameters is not None
    return python_arguments(parameters, args, {} if scope is None else scope, lazy)


def test_args_then_the_scope_then_defaults() -> None:
    assert arguments("a, b, c=3", {"a": 1}, {"a": 9, "b": 2}) == {"a": 1, "b": 2}
    assert arguments("a, c=3", {"a": None, "c": 4, "z": 5}) == {"a": None, "c": 4}
    assert arguments("", {"a": 1}) == {}


def test_context_is_the_scope() -> None:
    scope = {"workload": 1}
    assert arguments("context, a", {"a": 1}, scope) == {"context": scope, "a": 1}
    assert arguments("context, input_data", {"a": 1}, scope) == {"context": scope, "input_data": {"a": 1}}


def test_lazy_names_are_read_when_they_are_needed() -> None:
    class Lazy(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            return f"fetched {name}"

    assert arguments("step, other=1", {}, Lazy(), lazy=("step",)) == {"step": "fetched step"}
    assert arguments("a", {}, ChainMap({"a": 1})) == {"a": 1}


@pytest.mark.parametrize("args", [{}, {"a": 1, "b": 2}])
def test_a_lone_required_parameter_takes_all_args(args: dict[str, Any]) -> None:
    assert arguments("input_data", args) == {"input_data": args}
    assert arguments("input_data, flag=False", args) == {"input_data": args}


@pytest.mark.parametrize("signature", ["a, never_given", "a, *, never_given", "never_given, a, b"])
def test_a_missing_argument_is_named(signature: str) -> None:
    with pytest.raises(MissingArgument, match="never_given"):
        arguments(signature, {"a": 1, "b": 2})


def test_keywords_take_the_remaining_args_only() -> None:
    assert arguments("a, **kw", {"a": 1, "b": 2}, {"c": 3}) == {"a": 1, "b": 2}
    assert arguments("**kw", {}, {"c": 3}) == {}


def test_positional_rest_is_refused() -> None:
    with pytest.raises(MissingArgument, match=r"\*args"):
        arguments("*args", {"a": 1})


def test_args_are_laid_over_each_other() -> None:
    assert effective_args({"a": None, "b": 1, "c": 1}, {"b": 2, "c": 2}, {"c": 3}) == {"a": None, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ('{"a": [1]}', {"a": [1]}),
        (" [1, 2]\n", [1, 2]),
        ("[not json]", "[not json]"),
        ("{", "{"),
        ("12", "12"),
        ("true", "true"),
        ("", ""),
        (5, 5),
        (None, None),
        ({"a": '{"b": 1}'}, {"a": '{"b": 1}'}),
    ],
)
def test_text_that_is_json_is_parsed(value: Any, parsed: Any) -> None:
    assert parse_json_text(value) == parsed
