"""The JSON Schema of playbooks, for editors: generated from the tables of words, kinds and actions that the parser reads by.

What a schema cannot say (targets that are no step, names given twice, templates that are none) only the parser refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from noetl.playbook import bounds, inputs, keychain, parse, repeats, script_source, sinks, steps, tool, transfer
from noetl.playbook.actions import ACTIONS
from noetl.playbook.check import NAME_LENGTH
from noetl.playbook.kinds import COMMON, IGNORED, KINDS, PROVIDERS, Kind, supported
from noetl.playbook.shapes import LENGTH, TEMPLATE, Fields, Shape
from noetl.playbook.targets import WORDS as TARGET_WORDS

Schema = dict[str, Any]

_TEXT: Schema = {"$ref": "#/$defs/text"}
_NAME: Schema = {"$ref": "#/$defs/name"}
_POOL: Schema = {"type": "string", "pattern": f"^{bounds.POOL.pattern}$"}
_PRESENT_LIMIT: Schema = {"required": ["limit"], "properties": {"limit": {"not": {"type": "null"}}}}
_PARALLEL: Schema = {"required": ["mode"], "properties": {"mode": {"enum": ["parallel", "async"]}}}
_ARGS: Schema = {"type": ["object", "null"]}


def schema() -> Schema:
    """Return the schema of the playbooks that this version runs, as draft 2020-12."""
    words = {
        "apiVersion": {"const": parse.API_VERSION},
        "kind": {"const": parse.KIND},
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": _NAME, "path": _or_null(_NAME)}},
        "path": _or_null(_NAME),
        "input": _or_null({"type": "object", "additionalProperties": {"$ref": "#/$defs/input"}}),
        "on_failure": _or_null({"anyOf": [_NAME, {"$ref": "#/$defs/target"}]}),
        "pool": _or_null(_POOL),
        "workload": _ARGS,
        "keychain": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/key"}}, {"enum": [None, {}, "", False, 0]}]},
        "workbook": _or_null({"type": "array", "items": {"$ref": "#/$defs/entry"}}),
        "workflow": {
            "type": "array",
            "items": {"$ref": "#/$defs/step"},
            "contains": {"properties": {"step": {"const": "start"}}, "type": "object"},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "noetl playbook",
        **_mapping(parse.WORDS, words, required=("apiVersion", "kind", "metadata", "workflow")),
        "$defs": _definitions(),
    }


def _definitions() -> Schema:
    target = _mapping(TARGET_WORDS, {"step": _NAME, "args": _ARGS}, required=("step",))
    entry_words = {"name": _NAME, "tool": _without_workbook(), "sink": _or_null({"$ref": "#/$defs/sink"})}
    loop_words = {"in": _given(), "iterator": {"type": "string", "pattern": r"^[^\W\d]\w*$"}, "mode": {"enum": [*steps.MODES, None]}}
    loop_words["limit"] = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": bounds.MAX_LIMIT}, dict(TEMPLATE), {"type": "null"}]}
    one_of_next = {"anyOf": [_NAME, {"$ref": "#/$defs/target"}]}
    return {
        "text": {"type": "string", "pattern": r"\S"},
        "name": {"type": "string", "pattern": r"\S", "maxLength": NAME_LENGTH},
        "target": target,
        "next": {"anyOf": [*one_of_next["anyOf"], {"type": "array", "items": one_of_next}, {"type": "null"}]},
        "actions": _mapping(ACTIONS, {word: _action(word) for word in ACTIONS}),
        "rule": _mapping(steps.RULE_WORDS, {"when": _given(), "then": _then()}, required=steps.RULE_WORDS),
        "loop": {**_mapping(steps.LOOP_WORDS, loop_words, required=("in", "iterator")), "if": _PRESENT_LIMIT, "then": _PARALLEL},
        "input": _input(),
        "tool": _tool(),
        "entry": _mapping(tool.ENTRY_WORDS, entry_words, required=("name", "tool")),
        "step": _step(),
        "key": _key(),
        "sink": _sink(),
        **_repeats(),
    }


def _step() -> Schema:
    words = {
        "step": _NAME,
        "tool": _or_null({"$ref": "#/$defs/tool"}),
        "args": _ARGS,
        "loop": _or_null({"$ref": "#/$defs/loop"}),
        "timeout": _timeout(),
        "retry": {"$ref": "#/$defs/step_retry"},
        "pool": _or_null(_POOL),
        "vars": _ARGS,
        "case": _or_null({"type": "array", "items": {"$ref": "#/$defs/rule"}}),
        "next": {"$ref": "#/$defs/next"},
    }
    with_tool = {"required": ["tool"], "properties": {"tool": {"type": "object"}}}
    nothing = {word: {"type": "null"} for word in ("loop", "timeout", "retry", "pool", "tool")}
    without_tool = {"properties": {"step": {"enum": list(steps.TOOLLESS)}, **nothing}}
    return {**_mapping(steps.STEP_WORDS, words, required=("step",)), "anyOf": [with_tool, without_tool]}


def _timeout() -> Schema:
    length = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": LENGTH}]}
    both = _mapping(bounds.TIMEOUT_WORDS, dict.fromkeys(bounds.TIMEOUT_WORDS, _or_null(length)))
    one = [{"required": [word], "properties": {word: _given()}} for word in bounds.TIMEOUT_WORDS]
    return {"anyOf": [length, {**both, "anyOf": one}, {"type": "null"}]}


def _input() -> Schema:
    """Return the schema of one input: its type alone, or a mapping."""
    kinds = {"enum": [*inputs.TYPES, *inputs.ALIASES]}
    words = {
        "type": _or_null(kinds),
        "required": {"type": ["boolean", "null"]},
        "enum": {"type": ["array", "null"], "minItems": 1},
        **{word: {"type": ["number", "null"]} for word in ("min", "max")},
    }
    return {"anyOf": [kinds, _mapping(inputs.INPUT_WORDS, words), {"type": "null"}]}


def _then() -> Schema:
    item = {"anyOf": [{"$ref": "#/$defs/actions"}, {"$ref": "#/$defs/target"}]}
    return {"anyOf": [{"$ref": "#/$defs/actions"}, {"type": "array", "items": item}]}


def _action(word: str) -> Schema:
    row = ACTIONS[word]
    return _or_null(dict(row.schema)) if row.nullable else {"allOf": [dict(row.schema), _given()]}


def _tool() -> Schema:
    kinds = supported()
    branches = [{"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": _kind(name, KINDS[name])} for name in kinds]
    return {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": kinds}}, "allOf": branches}


def _kind(name: str, kind: Kind) -> Schema:
    own: Schema = {"kind": {}, "args": _ARGS, "with": _ARGS, **{word: {} for word in IGNORED}}
    if kind.script:
        own["script"] = _script()
    if name == "secrets":
        own["provider"] = {"anyOf": [{"enum": [None, *PROVIDERS]}, {"pattern": r"\{\{|\{%"}]}
    if name == "transfer":
        own |= {end: {"anyOf": [_end(kinds), {"not": {"type": "object"}}]} for end, kinds in transfer.ENDS.items()}
    return _fields(kind, own)


def _fields(kind: Kind, own: Mapping[str, Any], shared: Mapping[str, Shape] = COMMON) -> Schema:
    words = {**{word: _shaped(shape) for word, shape in {**shared, **kind.fields}.items()}, **own}
    given = [{"anyOf": [_filled(word) for word in group]} for group in kind.required]
    return {**_mapping(words, words), **({"allOf": given} if given else {})}


def _shaped(shape: Shape) -> Schema:
    if not isinstance(shape, Fields):
        return dict(shape.schema)
    fields = {word: _shaped(one) for word, one in shape.fields.items()}
    return {"anyOf": [_mapping(fields, fields), dict(TEMPLATE), {"type": "null"}]}


def _script() -> Schema:
    known = list(script_source.SOURCES)
    fields = {word: dict(shape.schema) for word, shape in script_source.SOURCE_FIELDS.items()}
    source = _mapping(fields, {**fields, "type": {"enum": known}}, required=("type",))
    without = {"properties": {"source": {"properties": {"type": {"enum": ["http", "inline"]}}}}}
    return {
        **_mapping(("uri", "source"), {"uri": _or_null(_TEXT), "source": source}, required=("source",)),
        "anyOf": [{"required": ["uri"]}, without],
    }


def _end(kinds: Mapping[str, Kind]) -> Schema:
    own: Schema = {word: {} for word in transfer.KIND_WORDS}
    return _of_kinds(transfer.KIND_WORDS, {name: _fields(kinds[name], own) for name in supported(kinds)})


def _key() -> Schema:
    """Return the schema of an entry of the keychain."""
    own: Schema = {"name": _NAME, "kind": {}}
    kinds = keychain.ENTRIES
    entries = {name: _fields(kinds[name], own, keychain.SHARED) for name in supported(kinds)}
    return {**_of_kinds(("kind",), entries), "required": ["name", "kind"]}


def _sink() -> Schema:
    """Return the schema of a sink; it says nothing of what stands beside a tool that is a mapping."""
    own: Schema = {word: {} for word in sinks.OWN_WORDS}
    flat = {name: {} if name.startswith("event") else _fields(sinks.SINKS[name], own) for name in supported(sinks.SINKS)}
    nested = {"properties": {word: {"enum": [None, *flat]} for word in sinks.KIND_WORDS}}
    tools = {word: {"anyOf": [{"enum": [None, *flat]}, {"type": "object", **nested}]} for word in sinks.TOOL_WORDS}
    one = [{"required": [word]} for word in (*sinks.TOOL_WORDS, *sinks.KIND_WORDS)]
    return {"type": "object", "properties": tools, "anyOf": one, "allOf": _branches(sinks.TOOL_WORDS, flat)}


def _repeats() -> Schema:
    """Return the schemas of `retry`, of a request for the next page, and of `collect`."""
    attempts = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\s*\d+\s*$"}]}
    number = {"type": ["number", "string", "null"], "minimum": 0, "pattern": r"^\s*[\d.]"}
    retry = {
        **dict.fromkeys(repeats.RETRY_WORDS, number),
        "max_attempts": _or_null(attempts),
        "backoff": {"enum": [*repeats.BACKOFFS, None]},
        "jitter": {"type": ["boolean", "string", "null"], "pattern": r"^\s*([Tt]rue|[Ff]alse|TRUE|FALSE)\s*$"},
    }
    page = {**retry, **{word: dict(shape.schema) for word, shape in repeats.PAGES.items()}}
    one = {"anyOf": [{"required": [word]} for word in repeats.PAGES]}
    text = {"type": ["string", "null"], "pattern": r"\S"}
    collect = {"strategy": {"enum": [*repeats.MODES, None]}, "mode": {"enum": [*repeats.MODES, None]}, "path": text, "into": text}
    either = {"anyOf": [{"required": [word]} for word in ("path", "from")]}
    classes = {"anyOf": [{"type": ["string", "integer", "null"]}, {"type": "array", "items": {"type": ["string", "integer"]}}]}
    own = {**retry, **dict.fromkeys(bounds.CLASS_WORDS, classes)}
    return {
        "step_retry": {"anyOf": [_mapping(own, own), {"const": True}, attempts, {"type": "null"}]},
        "retry": {"anyOf": [_mapping(page, page), {"const": True}, attempts]},
        "page": {**_mapping(page, page), **one},
        "collect": {**_mapping(repeats.COLLECT_WORDS, collect), **either},
    }


def _of_kinds(words: Iterable[str], schemas: Mapping[str, Schema]) -> Schema:
    """Return the schema of a mapping in which one of the words names the kind, and so the schema of all of it."""
    words = tuple(words)
    names = {word: {"enum": [None, *schemas]} for word in words}
    one = [{"required": [word]} for word in words]
    return {"type": "object", "properties": names, "anyOf": one, "allOf": _branches(words, schemas)}


def _branches(words: Iterable[str], schemas: Mapping[str, Schema]) -> list[Schema]:
    words = tuple(words)
    return [
        {"if": {"properties": {word: {"const": name}}, "required": [word]}, "then": schema}
        for name, schema in schemas.items()
        for word in words
        if schema
    ]


def _without_workbook() -> Schema:
    return {"allOf": [{"$ref": "#/$defs/tool"}, {"not": {"properties": {"kind": {"const": "workbook"}}, "required": ["kind"]}}]}


def _mapping(words: Iterable[str], known: Mapping[str, Any], required: Iterable[str] = ()) -> Schema:
    """Return the schema of a mapping that has these words and those that begin with `x-`."""
    properties = {word: known.get(word, {}) for word in sorted(words)}
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }


def _filled(word: str) -> Schema:
    """Return the schema of a mapping in which a word is given and not empty."""
    value = {"not": {"enum": [None, [], {}, False, 0]}, "pattern": r"\S"}
    return {"required": [word], "properties": {word: value}}


def _given() -> Schema:
    return {"not": {"type": "null"}}


def _or_null(inner: Schema) -> Schema:
    return {"anyOf": [inner, {"type": "null"}]}
