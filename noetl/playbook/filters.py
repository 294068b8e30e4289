"""The filters and tests of templates that differ from Jinja2's own: JSON, base64, and bounds on what text may grow to."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from jinja2 import Undefined

from noetl.playbook.problem import Problem

if TYPE_CHECKING:
    from jinja2 import Environment

_WIDEST = 1_000_000
_LONGEST = 1_000_000
_TEXT_FILTERS = ("truncate", "wordwrap", "indent", "urlencode", "center", "wordcount", "format", "batch", "slice")
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\d{6}|\*)|\{[^}]*\d{6}|\{[^{}]*:[^{}]*\{")


def install(environment: Environment) -> None:
    """Put our filters and tests into an environment, and bounds around those of Jinja2 that need them."""
    for name in _TEXT_FILTERS:
        environment.filters[name] = _bounded(environment.filters[name])
    environment.filters |= {
        "tojson": to_json,
        "b64encode": b64encode,
        "b64decode": b64decode,
        "round": round_number,
    }
    # Text on the left of `%` would be formatting, which can grow without bound.
    environment.tests |= {
        "odd": lambda value: _remainder(value, 2) == 1,
        "even": lambda value: _remainder(value, 2) == 0,
        "divisibleby": lambda value, number: _remainder(value, number) == 0,
    }


def refuse_wide(arguments: Iterable[Any]) -> None:
    """Raise OverflowError when a width or a count among arguments is out of all proportion."""
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > _WIDEST:
            raise OverflowError("width or count too large")


def refuse_wide_format(text: str) -> None:
    """Raise OverflowError for a format that pads to an enormous width, or to one that comes from a value."""
    if _WIDE_FORMAT.search(text):
        raise OverflowError("format too wide")


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON text: keys in their order, dates in ISO form, no escaping for HTML, NaN as null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain_value, indent=indent)
    except (ValueError, TypeError):
        return json.dumps(json_value(value), ensure_ascii=False, allow_nan=False, indent=indent)


def b64encode(value: Any) -> str:
    """Return bytes or text (UTF-8) in base64."""
    return base64.b64encode(value if isinstance(value, bytes) else str(value).encode()).decode("ascii")


def b64decode(value: Any) -> str:
    """Return the text (UTF-8) that base64 holds."""
    try:
        return base64.b64decode(value if isinstance(value, bytes) else str(value), validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("not base64 of a UTF-8 text") from None


def round_number(value: Any, precision: int = 0, method: str = "common") -> Any:
    """Round a number to a number of digits: `common`, `ceil` or `floor`."""
    if abs(precision) > 400:
        raise OverflowError("precision too large")
    if method == "common":
        return round(value, precision)
    if method not in ("ceil", "floor"):
        raise ValueError("method is common, ceil or floor")
    factor = 10**precision
    return (math.ceil if method == "ceil" else math.floor)(value * factor) / factor


def json_value(value: Any) -> Any:
    """Return a value as JSON knows it: undefined and NaN as None, dates as text, every iterable as a list."""
    kind = type(value)
    if kind in (str, int, bool, type(None)):
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is dict:
        return {key if type(key) is str else str(key): json_value(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [json_value(item) for item in value]
    plain = plain_value(value)
    return plain if type(plain) is Problem else json_value(plain)


def plain_value(value: Any) -> Any:
    """Return the nearest plain value of one that JSON does not know; its items may be such values again."""
    match value:
        case Undefined() | None:
            return None
        case Problem():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Decimal():
            return float(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | bytearray():
            return _bytes_as_text(bytes(value))
        case Mapping():
            return dict(value)
    if callable(value) or not isinstance(value, Iterable):
        raise TypeError(f"{type(value).__name__} is not data")
    items = list(islice(value, _LONGEST + 1))
    if len(items) > _LONGEST:
        raise OverflowError("list too long")
    return items


def _bytes_as_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value)


def _remainder(value: Any, number: Any) -> Any:
    if isinstance(value, str | bytes):
        raise TypeError("text has no remainder")
    return value % number


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        if function.__name__ == "do_format":
            refuse_wide_format(str(args[0]))
        else:
            refuse_wide((*args[1:], *kwargs.values()))
        return function(*(str(argument) if isinstance(argument, Problem) else argument for argument in args), **kwargs)

    return bounded
