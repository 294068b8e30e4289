"""A JSON value that is decoded when somebody looks at it, and not before."""

from __future__ import annotations

import json
from datetime import date, time
from typing import Any

import orjson

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 19
"""A run of digits, as `_DIGITS` leaves them, that may be an integer beyond 64 bits: orjson would make a float of it."""
_MOST_DIGITS = 4300
_UNREAD = object()


class NotHere(Exception):
    """The text of a stored value is asked for where nobody has brought it."""


class Value:
    """JSON text, or a value made here, each turned into the other when first asked for."""

    __slots__ = ("_raw", "_value")

    def __init__(self, raw: bytes | None, value: Any = _UNREAD) -> None:
        self._raw = raw
        self._value = value

    @classmethod
    def of(cls, value: Any) -> Value:
        """Wrap a value that is already decoded."""
        return cls(None, value)

    def get(self) -> Any:
        """Return the decoded value; callers share it and must not change it."""
        if self._value is _UNREAD:
            assert self._raw is not None
            self._value = loads(self._raw)
        return self._value

    def raw(self) -> bytes:
        """Return the JSON text."""
        if self._raw is None:
            self._raw = dumps(self._value)
        return self._raw

    @property
    def size(self) -> int:
        """The JSON text's length in bytes."""
        return len(self.raw())

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and bool(self.get() == other.get())

    def __repr__(self) -> str:
        return f"Value({self.size} bytes)"

    def __getstate__(self) -> Any:
        return self.raw()

    def __setstate__(self, raw: Any) -> None:
        self._raw = raw
        self._value = _UNREAD


class Stored(Value):
    """A value whose JSON text is kept elsewhere: `place` says where, `fill` brings the text here. Until then only its size is known."""

    __slots__ = ("_size", "place")

    def __init__(self, place: tuple[Any, ...], size: int) -> None:
        super().__init__(None)
        self.place = place
        self._size = size

    @property
    def size(self) -> int:
        """The JSON text's length in bytes."""
        return self._size

    def get(self) -> Any:
        """Return the decoded value."""
        self.raw()
        return super().get()

    def raw(self) -> bytes:
        """Return the JSON text; raise NotHere before it was brought here."""
        if self._raw is None:
            raise NotHere(f"a value of {self._size} bytes is read that was not brought here")
        return self._raw

    @property
    def address(self) -> str:
        """Return the place as text."""
        return "/".join(map(str, self.place))

    def fill(self, raw: bytes) -> None:
        """Bring the text here."""
        self._raw = raw

    def __getstate__(self) -> Any:
        return self.place, self._size

    def __setstate__(self, state: Any) -> None:
        self.__init__(*state)  # type: ignore[misc]


def loads(raw: bytes | str) -> Any:
    """Decode JSON; integers of any size are kept."""
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if not may_be_long(text):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            # Halves of characters, and NaN, are read by the other decoder only.
            pass
    return json.loads(text, parse_int=_integer)


def may_be_long(text: bytes) -> bool:
    """Whether JSON text may have an integer beyond 64 bits, which orjson would make a float of."""
    return _LONG in text.translate(_DIGITS)


def dumps(value: Any) -> bytes:
    """Encode JSON; integers of any size are kept, dates become ISO text."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_text).encode("utf-8", "replace")


def _integer(digits: str) -> int | float:
    """Read an integer; one that is longer than Python reads is infinite."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _text(value: object) -> Any:
    if isinstance(value, orjson.Fragment):
        return loads(orjson.dumps(value))
    return value.isoformat() if isinstance(value, date | time) else str(value)
