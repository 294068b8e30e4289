"""Values that are decoded when somebody looks at them."""

import copy
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.engine.value import Value, dumps, loads

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


def test_text_is_not_decoded_before_somebody_looks() -> None:
    value = Value(b"this is no JSON")
    assert value.raw() == b"this is no JSON"
    assert value.size == 15
    assert repr(value) == "Value(15 bytes)"
    with pytest.raises(ValueError, match="Expecting value"):
        value.get()


def test_decoding_and_encoding_happen_once() -> None:
    value = Value(b'{"a": [1]}')
    assert value.get() is value.get()
    assert value.raw() == b'{"a": [1]}'
    made = Value.of({"a": [1]})
    assert made.raw() is made.raw()
    assert made == value


def test_none_is_a_value() -> None:
    assert Value.of(None).get() is None
    assert Value(b"null").get() is None
    assert bool(Value.of(None))


def test_values_are_equal_by_what_they_say_and_cannot_be_keys() -> None:
    assert Value(b'{"a": 1, "b": 2}') == Value(b'{"b":2,"a":1}')
    assert Value.of(1) != 1
    with pytest.raises(TypeError):
        hash(Value.of(1))


@given(json_values)
def test_values_survive_encoding_pickling_and_copying(value: object) -> None:
    assert loads(dumps(value)) == value
    assert pickle.loads(pickle.dumps(Value.of(value))) == Value.of(value)
    assert copy.deepcopy(Value(dumps(value))).get() == value


def test_pickling_does_not_decode() -> None:
    assert pickle.loads(pickle.dumps(Value(b"no JSON"))).raw() == b"no JSON"


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**19, -(10**19), 2**200])
def test_integers_of_any_size_are_kept(number: int) -> None:
    assert loads(str(number)) == number
    assert loads(dumps({"n": [number, 1.5, "12345678901234567890"]})) == {"n": [number, 1.5, "12345678901234567890"]}


def test_a_number_that_python_will_not_read_is_still_a_number() -> None:
    assert loads('{"a": 1' + "0" * 5000 + ', "b": 2}') == {"a": float("inf"), "b": 2}


def test_what_is_no_json_is_written_as_text() -> None:
    assert loads(dumps({"at": datetime(2024, 1, 2, tzinfo=UTC), 5: {1}})) == {"at": "2024-01-02T00:00:00+00:00", "5": "{1}"}
    assert loads(dumps([2**70, float("nan"), {1}]))[0] == 2**70


def test_halves_of_characters_can_be_read_and_written() -> None:
    value = loads(rb'{"a": "\ud800"}')
    assert value == {"a": "\ud800"}
    assert loads(dumps(value)) == {"a": "?"}
