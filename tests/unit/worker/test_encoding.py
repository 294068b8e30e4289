from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections import namedtuple
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.tools.base import ToolError
from noetl.worker.encoding import clean, encode

LIMIT = 1024**2
Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_json_comes_back_as_it_went_in(value: Any) -> None:
    assert orjson.loads(encode(value, LIMIT)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({0: 2, None: 3, True: 4, 1.5: 5}, {"0": 2, "true": 4, "null": 3, "1.5": 5}),
        ({3: "three"}, {"3": "three"}),
        ([{1}], [[1]]),
        (b"\x01\xff", "Af8="),
        (decimal.Decimal("1.50"), 1.5),
        (datetime.datetime(2020, 1, 2, 3, 4, 5), "2020-01-02T03:04:05"),
        (datetime.timedelta(seconds=90), 90.0),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Pair(1, {2}), {"a": 1, "b": [2]}),
        (Point(1, 2), {"x": 1, "y": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ([None, "null", "\\u0000"], [None, "null", "\\u0000"]),
        ([None, datetime.date(2020, 1, 2)], [None, "2020-01-02"]),
        (-0.0, 0.0),
    ],
)
def test_what_is_nearly_json_becomes_json(value: Any, expected: Any) -> None:
    assert orjson.loads(encode(value, LIMIT)) == expected


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**64), 10**40])
def test_whole_numbers_keep_all_their_digits(number: int) -> None:
    assert json.loads(encode({"n": number}, LIMIT)) == {"n": number}


def cycle() -> Any:
    value: dict[str, Any] = {"a": {}}
    value["a"]["b"] = value
    return value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, 1, float("nan")]}, "$.a[2]"),
        ({"a": [None, float("inf")]}, "$.a[1]"),
        (decimal.Decimal("NaN"), "$"),
        ({"a": "x\0y"}, "$.a"),
        ({"a\0": 1}, "key"),
        ({"odd key": ["\ud800"]}, "$['odd key'][0]"),
        (cycle(), "$.a.b"),
        (deep(1000), "250 levels"),
        ({(1, 2): 1}, "(1, 2)"),
        ([object()], "object"),
        ((x for x in "ab"), "generator"),
        ({"f": len}, "$.f"),
        (Pair(1, float("nan")), "$.b"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_place(value: Any, place: str) -> None:
    with pytest.raises(ToolError) as caught:
        encode(value, LIMIT)
    assert caught.value.type == "result"
    assert place in caught.value.message


def test_a_result_above_the_limit_is_refused() -> None:
    encode("x" * (LIMIT - 2), LIMIT)
    with pytest.raises(ToolError, match=r"1\.0 MiB"):
        encode("x" * LIMIT, LIMIT)


def test_clean_text_can_be_stored_anywhere() -> None:
    assert clean("a\0b\ud800") == "a\\x00b\\ud800"
    assert len(clean("x" * 100_000)) < 9000
