"""YAML to nodes: values, places, and the bounds on what a text may stand for."""

from typing import Any

import pytest

from noetl.errors import PlaybookError
from noetl.playbook.document import MAX_BYTES, Node, load
from noetl.playbook.mistakes import Mistakes
from noetl.playbook.model import Position


def read(text: str) -> Node:
    mistakes = Mistakes(text, "text")
    root = load(text, mistakes)
    mistakes.check()
    return root


def first_problem(text: str) -> dict[str, Any]:
    with pytest.raises(PlaybookError) as raised:
        read(text)
    problem: dict[str, Any] = raised.value.details["problems"][0]
    return problem


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", True),
        ("on", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("0o7", "0o7"),
        ("017", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("190:20:30", 685230),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("2024-1-5 1:02:03 -5", "2024-01-05T01:02:03-05:00"),
        ("2024-13-45", "2024-13-45"),
        ("'yes'", "yes"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!int '7'", 7),
        ("=", "="),
        ("{a: [1, {b: c}]}", {"a": [1, {"b": "c"}]}),
        ("{1: a, yes: b, 2024-01-01: c, 1.50: d}", {"1": "a", "yes": "b", "2024-01-01": "c", "1.50": "d"}),
    ],
)
def test_values(written: str, value: Any) -> None:
    assert read(f"k: {written}\n").value == {"k": value}


@pytest.mark.parametrize("written", [".nan", "-.inf", "1.0e+999", "!!int x", "!!bool x", "!!float ''", "0x_", "9" * 5000, '"\\0"'])
def test_scalars_without_a_json_value(written: str) -> None:
    assert (first_problem(f"k: {written}\n")["line"], first_problem(f"k: {written}\n")["column"]) == (1, 4)


@pytest.mark.parametrize("written", ["!!python/object:os.system x", "!!set {a}", "!!binary aGk=", "!own x"])
def test_tags_that_a_playbook_does_not_have(written: str) -> None:
    if "{" in written:
        assert read(f"k: {written}\n").value == {"k": {"a": None}}
    else:
        assert "is not known" in first_problem(f"k: {written}\n")["message"]


def test_positions_are_those_of_keys_and_values() -> None:
    root = read("a:\n  - é: {b: 1}\n")
    assert root.fields is not None and root.fields["a"].node.items is not None
    item = root.fields["a"].node.items[0]
    assert item.fields is not None
    inner = item.fields["é"]
    assert (item.position, inner.position, inner.node.position) == (Position(2, 5), Position(2, 5), Position(2, 8))


def test_repeated_key_counts_with_its_last_value() -> None:
    assert read("a: 1\nb: 2\na: 3\n").value == {"a": 3, "b": 2}


def test_aliases_and_merge_keys() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: *a, y: 5}\nd: {<<: [*a, *b]}\ne: *b\nf: {'<<': 1}\n"
    value = read(text).value
    assert value["c"] == {"x": 1, "y": 5}
    assert value["d"] == {"x": 1, "y": 2, "z": 4}
    assert value["e"] == {"y": 3, "z": 4}
    assert value["f"] == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "the playbook is empty"),
        ("# only this\n", (1, 1), "the playbook is empty"),
        ("a: [1\nb: 2\n", (2, 2), "not YAML: did not find expected ',' or ']'"),
        ("a: b\n\tc: 1\n", (2, 1), "not YAML: found a tab character that violates indentation"),
        ("a: b: c\n", (1, 5), "not YAML: mapping values are not allowed"),
        ("a: 1\n---\nb: 2\n", (2, 1), "a second document begins here"),
        ("a: *b\n", (1, 4), "no anchor `&b` stands before this alias"),
        ("a: &a [*a]\n", (1, 8), "`*a` stands inside what it refers to"),
        ("a: b\x1b[31m\n", (1, 5), "the character U+001B is not allowed in YAML"),
        ("a: \ud800\n", (1, 4), "the character U+D800 is not allowed in YAML"),
        ("a: b\u2028c: \x01\n", (2, 4), "the character U+0001 is not allowed in YAML"),
        ("a: {<<: 1}\n", (1, 9), "`<<` takes a mapping"),
        ("? [a]\n: b\n", (1, 3), "a key has to be text"),
    ],
)
def test_texts_that_are_no_document(text: str, place: tuple[int, int], message: str) -> None:
    problem = first_problem(text)
    assert (problem["line"], problem["column"]) == place
    assert problem["message"].startswith(message)


@pytest.mark.parametrize("text", ["a: {{ x }}\n", "a: {{ x }}/y\n", "- {{ x }}\n"])
def test_template_without_quotes_gets_the_hint(text: str) -> None:
    assert first_problem(text)["hint"] == 'put a value that begins with a template in quotes: "{{ … }}"'


def test_size_is_bounded() -> None:
    assert "larger than" in first_problem("a: " + "é" * (MAX_BYTES // 2))["message"]
    assert read("a: " + "b" * (MAX_BYTES - 4) + "\n").value


@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000, "{a: " * 5000, "? " * 5000])
def test_depth_is_bounded(text: str) -> None:
    assert first_problem(text)["message"] == "nested more than 100 levels deep"


def test_aliases_that_multiply_are_bounded() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 30)]
    assert first_problem("\n".join(lines))["message"] == "this stands for more than 200000 values once its aliases are written out"


def test_aliases_of_long_text_are_bounded() -> None:
    text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]\n"
    assert first_problem(text)["message"] == "this stands for more than 8388608 characters once its aliases are written out"


def test_merges_that_multiply_are_bounded() -> None:
    fields = ", ".join(f"k{number}: 1" for number in range(300))
    sources = ", ".join(["*a"] * 300)
    text = f"a: &a {{{fields}}}\nb: &b [{sources}]\nc: [{', '.join(['{<<: *b}'] * 3)}]\n"
    assert first_problem(text)["message"] == "merge keys bring in more than 200000 fields"
