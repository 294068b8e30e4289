"""A payload is checked against the inputs that a playbook declares."""

import pytest

from noetl.playbook.inputs import BadInput, check_payload, from_text
from noetl.playbook.model import InputSpec
from noetl.tools.exchange import retry_after

SPECS = {
    "n": InputSpec("integer", required=True, least=1, most=9),
    "s": InputSpec("string", enum=("a", "b")),
    "d": InputSpec("duration", most=60),
    "l": InputSpec("list", least=1),
}


def problems(payload: dict[str, object]) -> dict[str, str]:
    try:
        check_payload(SPECS, {"w"}, payload, "playbook p")
    except BadInput as error:
        return {problem["name"]: problem["message"] for problem in error.details["inputs"]}
    return {}


def test_what_fits_is_accepted() -> None:
    assert problems({"n": 1, "s": "a", "d": "1m", "l": [0], "w": {"any": "thing"}}) == {}
    assert problems({"n": 9, "s": None}) == {}


@pytest.mark.parametrize(
    ("payload", "name", "said"),
    [
        ({}, "n", "is missing: it has to be a whole number"),
        ({"n": None}, "n", "is missing"),
        ({"n": "1"}, "n", "has to be a whole number; it is text of 1 character"),
        ({"n": True}, "n", "has to be a whole number; it is true or false"),
        ({"n": 1.5}, "n", "has to be a whole number; it is a number"),
        ({"n": 0}, "n", "has to be at least 1"),
        ({"n": 10}, "n", "has to be at most 9"),
        ({"n": 1, "s": "c"}, "s", 'has to be one of "a", "b"'),
        ({"n": 1, "d": "2m"}, "d", "has to be at most 60 s"),
        ({"n": 1, "d": "soon"}, "d", "has to be a length of time"),
        ({"n": 1, "l": []}, "l", "has to be at least 1 entry"),
        ({"n": 1, "l": {"a": 1}}, "l", "has to be a list; it is a mapping"),
        ({"n": 1, "x": 2}, "x", "is unknown"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(payload: dict[str, object], name: str, said: str) -> None:
    found = problems(payload)
    assert list(found) == [name]
    assert said in found[name]


def test_a_playbook_without_inputs_takes_any() -> None:
    check_payload(None, (), {"a": 1}, "playbook p")


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("string", "12", "12"),
        ("integer", "12", 12),
        ("boolean", "yes", True),
        ("boolean", "off", False),
        ("list", "[1]", [1]),
        ("number", "a lot", "a lot"),
        ("any", '{"a": 1}', {"a": 1}),
        ("duration", "5m", "5m"),
    ],
)
def test_a_word_of_the_command_line_becomes_a_value_of_its_type(type: str, text: str, value: object) -> None:
    assert from_text(InputSpec(type), text) == value


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("30", 0) == 30
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 1000) == 0
    assert retry_after("", 0) is retry_after("soon", 0) is retry_after("9" * 400, 0) is None
