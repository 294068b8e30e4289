"""A step's result as JSON text, or a clear word about the part that is no JSON."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import math
import pathlib
import re
import resource
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from noetl.tools.base import ToolError

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_DEEPEST = 250
_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*\Z")


def encode(value: Any, limit: int) -> bytes:
    """Return the value as JSON text of at most `limit` bytes; ToolError of type `result` says where and why it cannot be."""
    try:
        text = orjson.dumps(value, _replace, _OPTIONS) if _roomy() else _piecemeal(value, limit)
    except (TypeError, RecursionError):
        text = _dump(_plain(value, "$", ()))
    else:
        if b"\\u0000" in text:
            _plain(value, "$", ())
        elif b"null" in text:
            text = _without_hidden_null(value, text)
    if len(text) > limit:
        raise _too_large(_size(len(text)), limit)
    return text


def _too_large(size: str, limit: int) -> ToolError:
    return ToolError(
        f"the result is {size}, and {_size(limit)} is the most (NOETL_MAX_RESULT): "
        "write the data to a table or a file and return where it is, or raise NOETL_MAX_RESULT of servers and workers",
        type="result",
    )


def _roomy() -> bool:
    """Whether orjson can be trusted: it reserves eight times a text's length, and crashes where it does not get it."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return limit == resource.RLIM_INFINITY or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < limit // 10


def _piecemeal(value: Any, limit: int) -> bytes:
    """Encode slowly, with little memory beside the value and its text."""
    pieces, size = [], 0
    for piece in json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).iterencode(_plain(value, "$", ())):
        pieces.append(piece.encode())
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(f"more than {_size(limit)}", limit)
    return b"".join(pieces)


def clean(text: str, longest: int = 8192) -> str:
    """Return text that any store can hold: bounded, without NUL and lone surrogates."""
    if len(text) > longest:
        text = f"{text[: longest // 2]} … {text[-longest // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _without_hidden_null(value: Any, text: bytes) -> bytes:
    """Refuse NaN and Infinity, which orjson writes as null."""
    if text.count(b"null") != _nones(value):
        _plain(value, "$", ())
    return text


def _nones(value: Any) -> int:
    """Count None among plain values; -1 as soon as something needs a closer look."""
    count = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if item is None:
            count += 1
        elif type(item) is dict:
            pending.extend(item.values())
        elif type(item) in (list, tuple):
            pending.extend(item)
        elif type(item) not in (str, int, float, bool):
            return -1
    return count


def _replace(value: Any) -> Any:
    """Return what orjson shall write in place of a value that it does not know."""
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    raise TypeError


def _number(value: decimal.Decimal) -> float:
    return float(value)


def _sequence(value: Any) -> list[Any]:
    return list(value)


def _named(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else list(value)


_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (tuple, _named),
    ((set, frozenset), _sequence),
    (decimal.Decimal, _number),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(bytes(value)).decode()),
    (datetime.timedelta, datetime.timedelta.total_seconds),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (pathlib.PurePath, str),
    (
        (
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.IPv4Network,
            ipaddress.IPv6Network,
            ipaddress.IPv4Interface,
            ipaddress.IPv6Interface,
        ),
        str,
    ),
    (Mapping, dict),
)


def _plain(value: Any, path: str, above: tuple[int, ...]) -> Any:
    """Return the value made of JSON's own types only, or say which part of it cannot be."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, path, above)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refusal(path, f"{value!r}, which JSON has no number for; return None or text instead")
        return float(value)
    if id(value) in above:
        raise _refusal(path, "the value that it is part of: it never ends")
    if len(above) >= _DEEPEST:
        raise _refusal("$", f"nested more than {_DEEPEST} levels deep")
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        return {_key(key, path): _plain(item, _at(path, key), inside) for key, item in value.items()}
    if isinstance(value, list) or (isinstance(value, tuple) and not hasattr(value, "_asdict")):
        return [_plain(item, f"{path}[{index}]", inside) for index, item in enumerate(value)]
    return _converted(value, path, inside)


def _converted(value: Any, path: str, inside: tuple[int, ...]) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, path, inside)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _plain(value.tolist(), path, inside)
    try:
        replacement = _replace(value)
    except TypeError:
        name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise _refusal(path, f"a {name}, which is no JSON value; return dicts, lists, text and numbers") from None
    return _plain(replacement, path, inside)


def _text(value: str, path: str) -> str:
    if "\0" in value:
        raise _refusal(path, "text with a NUL character (\\x00), which the database cannot hold; encode it, with base64 say")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _refusal(path, f"text with half a character (a lone surrogate, \\u{ord(value[error.start]):04x})") from None
    return str.__str__(value)


def _key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return _text(key, f"the key {key!r} of {path}")
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, (int, float)):
        return str(key)
    if isinstance(key, (datetime.date, datetime.time)):
        return key.isoformat()
    if isinstance(key, uuid.UUID):
        return str(key)
    raise _refusal(path, f"a mapping with the key {clean(repr(key), 80)}; keys are text")


def _at(path: str, key: Any) -> str:
    name = clean(str(key), 80)
    return f"{path}.{name}" if _PLAIN_KEY.match(name) else f"{path}[{name!r}]"


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _refusal(path: str, what: str) -> ToolError:
    return ToolError(f"the result cannot be stored: {path} is {what}", type="result")


def _size(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB" if count >= 1024**2 else f"{count} bytes"
