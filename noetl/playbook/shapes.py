"""What a field of a tool may hold: in words for a message, as a test of a value, and as a JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noetl.playbook.duration import seconds
from noetl.playbook.expression import is_template
from noetl.playbook.model import Json


@dataclass(frozen=True, slots=True)
class Shape:
    """The values that a field takes. Wherever text is not among them a template still is, and null always means: not given."""

    words: str
    types: tuple[type, ...]
    schema: Mapping[str, Any]

    def accepts(self, value: Json) -> bool:
        """Say whether a value as written in the playbook fits."""
        if value is None or (isinstance(value, str) and is_template(value)):
            return True
        if isinstance(value, bool) and bool not in self.types:
            return False
        return isinstance(value, self.types)


@dataclass(frozen=True, slots=True)
class Words(Shape):
    """Text that is one of a few words, in any case."""

    known: tuple[str, ...] = ()

    def accepts(self, value: Json) -> bool:
        return Shape.accepts(self, value) and not (
            isinstance(value, str) and value.strip() and not is_template(value) and value.lower() not in map(str.lower, self.known)
        )


@dataclass(frozen=True, slots=True)
class Written(Shape):
    """Text, or a number, that is written in a certain way."""

    pattern: str = ""

    def accepts(self, value: Json) -> bool:
        if not Shape.accepts(self, value):
            return False
        if value is None or (isinstance(value, str) and (not value.strip() or is_template(value))):
            return True
        return re.search(self.pattern, str(value)) is not None


@dataclass(frozen=True, slots=True)
class Fields(Shape):
    """A mapping of certain fields."""

    fields: Mapping[str, Shape] = field(default_factory=dict)


class _Texts(Shape):
    __slots__ = ()

    def accepts(self, value: Json) -> bool:
        return all(isinstance(item, str) for item in value) if isinstance(value, list) else Shape.accepts(self, value)


class _Duration(Shape):
    __slots__ = ()

    def accepts(self, value: Json) -> bool:
        return value is None or seconds(value) is not None or (isinstance(value, str) and is_template(value))


class _Count(Shape):
    __slots__ = ()

    def accepts(self, value: Json) -> bool:
        if isinstance(value, str) and not is_template(value):
            return value.isdecimal() and int(value) > 0
        return Shape.accepts(self, value) and not (isinstance(value, int) and value < 1)


class _Edition(_Count):
    __slots__ = ()

    def accepts(self, value: Json) -> bool:
        return value in ("", "latest") or _Count.accepts(self, value)


TEMPLATE: Mapping[str, Any] = {"type": "string", "pattern": r"\{\{|\{%"}
LENGTH = r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)?\s*$"
_LENGTH = {"type": "string", "pattern": LENGTH}


def _one_of(words: str, known: tuple[str, ...]) -> Words:
    pattern = "|".join("".join(f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else letter for letter in word) for word in known)
    return Words(words, (str,), {"anyOf": [{"type": "string", "pattern": rf"^\s*$|^({pattern})$"}, TEMPLATE, {"type": "null"}]}, known)


def _written(words: str, types: tuple[type, ...], pattern: str) -> Written:
    texts = {"type": "string", "pattern": rf"^\s*$|{pattern}"}
    numbers = [{"type": "number" if float in types else "integer", "minimum": 0}] if int in types else []
    return Written(words, types, {"anyOf": [texts, *numbers, TEMPLATE, {"type": "null"}]}, pattern)


ANY = Shape("anything", (object,), {})
TEXT = Shape("text", (str,), {"type": ["string", "null"]})
_METHODS = (
    *("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY", "LIST", "PURGE"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"),
)
METHOD = _one_of("a method of HTTP, such as GET", _METHODS)
PROVIDER = _one_of("auto, docker or kubernetes", ("auto", "docker", "kubernetes", "k8s"))
PULL = _one_of("missing, always or never", ("missing", "always", "never", "IfNotPresent", "if_not_present"))
TEXTS = _Texts("text or a list of texts", (str,), {"type": ["string", "array", "null"], "items": {"type": "string"}})
FLAG = Shape("true or false", (bool,), {"anyOf": [{"type": ["boolean", "null"]}, TEMPLATE]})
COUNT = _Count(
    "a number of at least 1",
    (int, str),
    {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^0*[1-9]\d*$"}, TEMPLATE, {"type": "null"}]},
)
EDITION = _Edition(
    "the number of a version",
    (int, str),
    {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^(0*[1-9]\d*|latest)?$"}, TEMPLATE, {"type": "null"}]},
)
VERSION = Shape("a number or text", (int, str), {"type": ["integer", "string", "null"]})
URL = _written("a URL, such as https://example.com/data", (str,), r"^\s*[Hh][Tt][Tt][Pp][Ss]?://")
PORT = _written("the number of a port", (int, str), r"^\s*0*[1-9]\d{0,4}\s*$")
MEMORY = _written("an amount of memory, such as 512Mi", (int, float, str), r"^\s*\d+(\.\d+)?\s*([KkMmGgTt][Ii]?)?[Bb]?\s*$")
CPU = _written("a share of processors, such as 0.5 or 500m", (int, float, str), r"^\s*(\d+\.?\d*|\.\d+)m?\s*$")
MAPPING = Shape("a mapping", (dict,), {"anyOf": [{"type": ["object", "null"]}, TEMPLATE]})
TEXT_OR_MAPPING = Shape("text or a mapping", (str, dict), {"type": ["string", "object", "null"]})
DURATION = _Duration(
    'a length of time, such as 30, "30s" or "5m"',
    (int, float, str),
    {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _LENGTH, TEMPLATE, {"type": "null"}]},
)


def mapping_of(fields: Mapping[str, Shape]) -> Fields:
    """Return the shape of a mapping of certain fields."""
    return Fields(MAPPING.words, MAPPING.types, MAPPING.schema, fields)
