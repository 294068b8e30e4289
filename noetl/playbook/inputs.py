"""What an execution may be given: `input` of a playbook read, and a payload checked against it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from noetl.errors import NoetlError
from noetl.playbook.check import Check
from noetl.playbook.document import Node
from noetl.playbook.duration import seconds
from noetl.playbook.expression import is_template
from noetl.playbook.mistakes import nearest, quote
from noetl.playbook.model import InputSpec, Json

INPUT_WORDS = ("type", "default", "required", "description", "enum", "min", "max")
_SYNONYMS = {"desc": "description", "minimum": "min", "maximum": "max", "values": "enum", "choices": "enum"}


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: Mapping[str, tuple[Callable[[Json], bool], str]] = {
    "any": (lambda value: True, "anything"),
    "string": (lambda value: isinstance(value, str), "text"),
    "integer": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "number": (_is_number, "a number"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "list": (lambda value: isinstance(value, list), "a list"),
    "mapping": (lambda value: isinstance(value, Mapping), "a mapping"),
    "duration": (lambda value: seconds(value) is not None, 'a length of time, such as 30, "30s" or "5m"'),
}
"""The types of inputs: the test of a value, and the words for what passes it."""

ALIASES: Mapping[str, str] = {
    "array": "list",
    "object": "mapping",
    "text": "string",
    "bool": "boolean",
}
_OTHER_WORDS = {"dict": "mapping", "str": "string", "map": "mapping", "int": "integer", "float": "number"}


class BadInput(NoetlError):
    """A payload that does not fit what its playbook declares; `details["inputs"]` has a mapping of name and message for each."""

    code = "bad_input"
    http_status = 422
    exit_code = 2


def read_inputs(check: Check, node: Node | None) -> tuple[Mapping[str, InputSpec] | None, Mapping[str, Json]]:
    """Return the inputs by name, None where none are declared, and their defaults; one that is not required is null by default."""
    if node is None:
        return None, {}
    inputs: dict[str, InputSpec] = {}
    defaults: dict[str, Json] = {}
    for name, field in check.mapping(node, "`input`").items():
        spec, default, given = _spec(check, field.node, f"the input {quote(name)}")
        inputs[name] = spec
        if given or not spec.required:
            defaults[name] = default
    return inputs, defaults


def _spec(check: Check, node: Node, what: str) -> tuple[InputSpec, Json, bool]:
    """Return an input, its default, and whether it has one."""
    if node.value is None:
        return InputSpec(), None, False
    if isinstance(node.value, str):
        return InputSpec(_type(check, node, what)), None, False
    fields = check.mapping(node, what)
    check.words(fields, INPUT_WORDS, what, _SYNONYMS)
    type_node, default, required, text, enum, least, most = (check.field(fields, word) for word in INPUT_WORDS)
    kind = _type(check, type_node, what) if type_node is not None else "any"
    spec = InputSpec(
        type=kind,
        required=_flag(check, required, what),
        description=text.text if text is not None else "",
        enum=_values(check, enum, what),
        least=_bound(check, least, f"`min` of {what}", kind),
        most=_bound(check, most, f"`max` of {what}", kind),
    )
    if least is not None and spec.least is not None and spec.most is not None and spec.least > spec.most:
        check.mistakes.add(least.position, f"`min` of {what} is above its `max`: no value fits")
    if default is None:
        return spec, None, False
    value = check.value(default)
    if not _has_template(value) and (wrong := mismatch(spec, value)):
        check.mistakes.add(default.position, f"the default of {what} has to be {wrong}")
    return spec, value, True


def _type(check: Check, node: Node, what: str) -> str:
    name = check.text(node, f"`type` of {what}")
    name = ALIASES.get(name, name)
    if name and name not in TYPES:
        check.mistakes.add(node.position, f"unknown type {quote(name)} of {what}", check.nearest(name, [*TYPES, *ALIASES], _OTHER_WORDS))
    return name if name in TYPES else "any"


def _flag(check: Check, node: Node | None, what: str) -> bool:
    if node is not None and not isinstance(node.value, bool):
        check.mistakes.add(node.position, f"`required` of {what} has to be true or false")
    return node is not None and node.value is True


def _values(check: Check, node: Node | None, what: str) -> tuple[Json, ...]:
    if node is None:
        return ()
    if not node.items:
        check.mistakes.add(node.position, f"`enum` of {what} has to be a list of values")
    return tuple(item.value for item in node.items or ())


def _bound(check: Check, node: Node | None, what: str, kind: str) -> float | None:
    if node is None:
        return None
    if _is_number(node.value):
        return float(node.value)
    found = seconds(node.value) if kind == "duration" else None
    if found is None:
        more = f", or {TYPES['duration'][1]}" if kind == "duration" else ""
        check.mistakes.add(node.position, f"{what} has to be a number{more}")
    return found


def _has_template(value: Json) -> bool:
    if isinstance(value, Mapping | list):
        return any(map(_has_template, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, str) and is_template(value)


def mismatch(spec: InputSpec, value: Json) -> str:
    """Return what a value had to be, in words; nothing where it fits. `min` and `max` bound numbers, and the length of the rest."""
    fits, words = TYPES[spec.type]
    if not fits(value):
        return words
    if spec.enum and value not in spec.enum:
        return f"one of {', '.join(map(_shown, spec.enum))}"
    measured = seconds(value) if spec.type == "duration" else value if _is_number(value) else _length(value)
    unit = "s" if spec.type == "duration" else "" if _is_number(value) else "characters" if isinstance(value, str) else "entries"
    if measured is not None and spec.least is not None and measured < spec.least:
        return f"at least {_counted(spec.least, unit)}"
    if measured is not None and spec.most is not None and measured > spec.most:
        return f"at most {_counted(spec.most, unit)}"
    return ""


def _counted(number: float, unit: str) -> str:
    one = {"characters": "character", "entries": "entry"}
    written = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{written} {one.get(unit, unit) if number == 1 else unit}".rstrip()


def _length(value: Json) -> int | None:
    return len(value) if isinstance(value, str | list | Mapping) else None


def check_payload(inputs: Mapping[str, InputSpec] | None, more: Collection[str], payload: Mapping[str, Json], where: str) -> None:
    """Raise BadInput for everything that is wrong with a payload; the names of `more` (the workload's) may be given beside the inputs."""
    if inputs is None:
        return
    problems = list(_problems(inputs, more, payload))
    if problems:
        listed = "; ".join(problem["message"] for problem in problems)
        hint = f"inputs: {', '.join(f'{name} ({spec.type})' for name, spec in inputs.items())}" if inputs else "it takes no inputs"
        raise BadInput(f"{where}: {listed}", hint, details={"inputs": problems})


def _problems(inputs: Mapping[str, InputSpec], more: Collection[str], payload: Mapping[str, Json]) -> Iterator[dict[str, Any]]:
    known = {*inputs, *more}
    for name, spec in inputs.items():
        value = payload.get(name)
        if value is None:
            if spec.required:
                yield {"name": name, "message": f"input {quote(name)} is missing: it has to be {TYPES[spec.type][1]}"}
        elif wrong := mismatch(spec, value):
            yield {"name": name, "message": f"input {quote(name)} has to be {wrong}; it is {in_words(value)}"}
    for name in payload:
        if name not in known:
            yield {"name": name, "message": f"input {quote(name)} is unknown: {nearest(name, sorted(known)) or 'no inputs are declared'}"}


def in_words(value: Json) -> str:
    """Return what a value is, in words that give nothing of it away."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return f"text of {_counted(len(value), 'characters')}"
        case int() | float():
            return "a number"
        case list():
            return f"a list of {_counted(len(value), 'entries')}"
        case _:
            return "a mapping" if value else "an empty mapping"


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


def from_text(spec: InputSpec, text: str) -> Json:
    """Return what a word of the command line means as a value of an input; the text itself where it means none."""
    if spec.type in ("string", "duration"):
        return text
    if spec.type == "boolean" and text.strip().lower() in ("true", "false", "yes", "no", "1", "0", "on", "off"):
        return text.strip().lower() in ("true", "yes", "1", "on")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if spec.enum and text in spec.enum and value not in spec.enum else value
