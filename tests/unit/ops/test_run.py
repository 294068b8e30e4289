from __future__ import annotations

from pathlib import Path

import pytest

from noetl.errors import PlaybookError, UsageError
from noetl.ops import run
from noetl.playbook.inputs import BadInput
from noetl.playbook.parse import parse


@pytest.mark.parametrize(
    ("text", "assignments", "built"),
    [
        ("", [], {}),
        ('{"a": 1}', [], {"a": 1}),
        ('{"a": 1}', ["a=2"], {"a": 2}),
        (
            "",
            ["name=Ada", "n=3", "on=true", "list=[1, 2]", 'text="7"', "none=null"],
            {"name": "Ada", "n": 3, "on": True, "list": [1, 2], "text": "7", "none": None},
        ),
        ("", ["a.b.c=1", "a.d=2"], {"a": {"b": {"c": 1}, "d": 2}}),
        ("", ["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
        ("", ["a=NaN", "b=-Infinity", "c=[NaN]"], {"a": "NaN", "b": "-Infinity", "c": "[NaN]"}),
    ],
)
def test_payload(text: str, assignments: list[str], built: dict[str, object]) -> None:
    assert run.payload(text, assignments) == built


def test_payload_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"a": 1}')
    assert run.payload(f"@{tmp_path / 'p.json'}", ["b=2"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "assignments"),
    [("{", []), ("[1]", []), ('{"a": NaN}', []), ("@/nowhere.json", []), ("", ["novalue"]), ("", ["=1"]), ('{"a": 1}', ["a.b=1"])],
)
def test_payload_that_is_none(text: str, assignments: list[str]) -> None:
    with pytest.raises(UsageError):
        run.payload(text, assignments)


def test_payload_of_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is no UTF-8 text"):
        run.payload(f"@{tmp_path / 'p.json'}", [])


def test_a_playbook_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        run.read_playbook("nowhere.yaml")


def test_a_broken_playbook_is_found_before_anything_starts(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(PlaybookError):
        run.read_playbook(str(broken))


def test_words_become_values_of_the_playbook_s_inputs_and_what_does_not_fit_is_refused() -> None:
    playbook = parse(
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\n"
        "input: {n: {type: integer, required: true}, code: string}\nworkflow: [{step: start}]\n"
    )
    assert run.payload("", ["n=3", "code=007"], playbook) == {"n": 3, "code": "007"}
    with pytest.raises(BadInput) as raised:
        run.payload("", ["n=three", "cod=1"], playbook)
    assert raised.value.exit_code == 2
    assert [problem["name"] for problem in raised.value.details["inputs"]] == ["n", "cod"]


@pytest.mark.parametrize(
    ("more", "given", "warnings"),
    [
        ("workload: {base: 1, size: 2}", {"bas": 1, "size": 3}, ["the workload has no `bas`: did you mean `base`?"]),
        ("workload: {base: 1}", {"base": 2, "unlike": 3}, []),
        ("input: {base: any}", {"bas": 1}, []),
    ],
)
def test_keys_that_are_likely_to_be_misspelt(more: str, given: dict[str, object], warnings: list[str]) -> None:
    text = f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: a}}\n{more}\nworkflow: [{{step: start}}]\n"
    assert run.doubts(given, parse(text)) == warnings
