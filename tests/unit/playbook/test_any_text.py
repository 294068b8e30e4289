"""Whatever the text is, it is a playbook or a PlaybookError, and nothing else is raised."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from noetl.errors import PlaybookError
from noetl.playbook.document import load
from noetl.playbook.mistakes import Mistakes
from noetl.playbook.parse import parse
from noetl.playbook.schema import schema

SCHEMA = schema()
HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: demo}\n"


@given(st.text(alphabet=st.characters(), max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_playbook_or_a_playbook_error(text: str) -> None:
    try:
        parse(text)
    except PlaybookError as error:
        assert error.details["problems"]


PIECES = (
    *"{}[]:,-?&*!|>'\"#%@`~\n\t ",
    *("apiVersion", "metadata", "workflow", "workbook", "step", "start", "end", "tool", "kind", "python", "http", "script", "source"),
    *("case", "when", "then", "next", "call", "set", "result", "from", "fail", "log", "loop", "in", "iterator", "args", "timeout"),
    *("<<", "{{", "}}", "{%", "- ", ": ", "\n  ", "\n    - ", "null", "true", "1", ".nan", "2024-01-01", "&a", "*a", "!!int"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_pieces_of_the_language_are_a_playbook_or_a_playbook_error(text: str) -> None:
    try:
        parse(HEAD + text)
    except PlaybookError as error:
        assert error.details["problems"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(PIECES)
KEYS = st.sampled_from([piece for piece in PIECES if piece.isalpha()]) | st.text(max_size=5)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25)


@given(st.dictionaries(st.sampled_from(["workload", "workbook", "workflow", "metadata", "keychain", "spec", "name", "path"]), TREES))
@settings(max_examples=150, deadline=None)
def test_any_tree_is_a_playbook_or_a_playbook_error(tree: dict[str, Any]) -> None:
    try:
        parse(yaml.safe_dump({"apiVersion": "noetl.io/v2", "kind": "Playbook", **tree}))
    except PlaybookError as error:
        assert error.details["problems"]


STEPS = st.lists(
    st.fixed_dictionaries(
        {"step": st.sampled_from(["start", "end", "a"])},
        optional={
            **dict.fromkeys(("tool", "loop", "next", "args", "vars", "desc"), TREES),
            "case": TREES | st.lists(st.fixed_dictionaries({"when": SCALARS, "then": TREES}), max_size=2),
        },
    ),
    max_size=4,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_any_steps_are_a_playbook_or_a_playbook_error(steps: list[Any]) -> None:
    try:
        parse(HEAD + yaml.safe_dump({"workflow": steps}))
    except PlaybookError as error:
        assert error.details["problems"]


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_what_the_parser_reads_the_schema_accepts(steps: list[Any]) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    text = HEAD + yaml.safe_dump({"workflow": steps})
    try:
        parse(text)
    except PlaybookError:
        return
    validator.validate(load(text, Mistakes(text, "text")).value)
