"""YAML 1.1 scalars to JSON values, as PyYAML reads them, but for dates (kept as text) and numbers that JSON does not have."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, cast

import yaml

from noetl.playbook.mistakes import quote
from noetl.playbook.model import Json

_TAG = "tag:yaml.org,2002:"
_LONGEST_NUMBER = 4_000
_constructor = cast(Any, yaml.constructor.SafeConstructor())
_resolver = cast(Any, yaml.resolver.Resolver())


class ScalarError(Exception):
    """A scalar that no JSON value can be made of."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def resolve(text: str, *, plain: bool) -> str:
    """Return the tag of a scalar that has none written: by its looks when it is plain, text when it is quoted."""
    return str(_resolver.resolve(yaml.ScalarNode, text, (plain, not plain)))


def value_of(tag: str, text: str) -> Json:
    """Return the JSON value of a scalar with a tag."""
    if "\0" in text:
        raise ScalarError("a NUL character cannot be stored", "leave it out, or make it in a step's code")
    match tag.removeprefix(_TAG):
        case "str" | "value" | "merge":
            return text
        case "null":
            return None
        case "bool":
            return _built(_constructor.construct_yaml_bool, tag, text)
        case "int":
            return _built(_constructor.construct_yaml_int, tag, text)
        case "float":
            return _finite(_built(_constructor.construct_yaml_float, tag, text), text)
        case "timestamp":
            return _iso(text)
        case word:
            shown = word if word == tag else f"!!{word}"
            raise ScalarError(f"the tag {quote(shown)} is not known", "a playbook holds text, numbers, booleans, lists and mappings")


def _built(construct: Any, tag: str, text: str) -> Json:
    if len(text) > _LONGEST_NUMBER:
        raise ScalarError(f"a number longer than {_LONGEST_NUMBER} characters", "put it in quotes if it is text")
    try:
        return construct(yaml.ScalarNode(tag, text))
    except (ValueError, KeyError, IndexError, ArithmeticError):
        raise ScalarError(f"{quote(text)} is no {tag.removeprefix(_TAG)}", "put it in quotes if it is text") from None


def _finite(number: float, text: str) -> float:
    if math.isfinite(number):
        return number
    raise ScalarError(f"{quote(text)} is a number that JSON does not have", "write it in quotes and convert it in a step's code")


def _iso(text: str) -> str:
    """Return a date as ISO text: as it is written when that is ISO, else put right, else as it is written."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = _constructor.construct_yaml_timestamp(yaml.ScalarNode(f"{_TAG}timestamp", text))
        except (ValueError, OverflowError, AttributeError):
            return text
        return str(moment.isoformat())
    return text
