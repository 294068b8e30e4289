"""The JSON Schema of playbooks, for editors: generated from the tables of words, kinds and actions that the parser reads by.

What a schema cannot say (targets that are no step, names given twice, templates that are none) only the parser refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from noetl.playbook import parse, steps, tool
from noetl.playbook.actions import ACTIONS
from noetl.playbook.check import NAME_LENGTH
from noetl.playbook.kinds import COMMON, IGNORED, KINDS, SCRIPT_SOURCE_FIELDS, SCRIPT_SOURCES, Kind, supported
from noetl.playbook.targets import WORDS as TARGET_WORDS

Schema = dict[str, Any]

_TEXT: Schema = {"$ref": "#/$defs/text"}
_NAME: Schema = {"$ref": "#/$defs/name"}
_ARGS: Schema = {"type": ["object", "null"]}


def schema() -> Schema:
    """Return the schema of the playbooks that this version runs, as draft 2020-12."""
    words = {
        "apiVersion": {"const": parse.API_VERSION},
        "kind": {"const": parse.KIND},
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": _NAME, "path": _or_null(_NAME)}},
        "path": _or_null(_NAME),
        "workload": _ARGS,
        "keychain": {"enum": [None, [], {}, "", False, 0]},
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
    entry_words = {"name": _NAME, "tool": _without_workbook(), "sink": {"type": "null"}}
    loop_words = {"in": _given(), "iterator": {"type": "string", "pattern": r"^[^\W\d]\w*$"}, "mode": {"enum": [*steps.MODES, None]}}
    one_of_next = {"anyOf": [_NAME, {"$ref": "#/$defs/target"}]}
    return {
        "text": {"type": "string", "pattern": r"\S"},
        "name": {"type": "string", "pattern": r"\S", "maxLength": NAME_LENGTH},
        "target": target,
        "next": {"anyOf": [*one_of_next["anyOf"], {"type": "array", "items": one_of_next}, {"type": "null"}]},
        "actions": _mapping(ACTIONS, {word: _action(word) for word in ACTIONS}),
        "rule": _mapping(steps.RULE_WORDS, {"when": _given(), "then": _then()}, required=steps.RULE_WORDS),
        "loop": _mapping(steps.LOOP_WORDS, loop_words, required=("in", "iterator")),
        "tool": _tool(),
        "entry": _mapping(tool.ENTRY_WORDS, entry_words, required=("name", "tool")),
        "step": _step(),
    }


def _step() -> Schema:
    words = {
        "step": _NAME,
        "tool": _or_null({"$ref": "#/$defs/tool"}),
        "args": _ARGS,
        "loop": _or_null({"$ref": "#/$defs/loop"}),
        "vars": _ARGS,
        "case": _or_null({"type": "array", "items": {"$ref": "#/$defs/rule"}}),
        "next": {"$ref": "#/$defs/next"},
    }
    with_tool = {"required": ["tool"], "properties": {"tool": {"type": "object"}}}
    without_tool = {"properties": {"step": {"enum": list(steps.TOOLLESS)}, "loop": {"type": "null"}}}
    return {**_mapping(steps.STEP_WORDS, words, required=("step",)), "anyOf": [with_tool, without_tool]}


def _then() -> Schema:
    item = {"anyOf": [{"$ref": "#/$defs/actions"}, {"$ref": "#/$defs/target"}]}
    return {"anyOf": [{"$ref": "#/$defs/actions"}, {"type": "array", "items": item}]}


def _action(word: str) -> Schema | bool:
    row = ACTIONS[word]
    if row.read is None:
        return False
    return _or_null(dict(row.schema)) if row.nullable else {"allOf": [dict(row.schema), _given()]}


def _tool() -> Schema:
    kinds = supported()
    branches = [{"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": _kind(KINDS[name])} for name in kinds]
    return {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": kinds}}, "allOf": branches}


def _kind(kind: Kind) -> Schema:
    shapes = {**COMMON, **kind.fields}
    properties = {word: dict(shape.schema) for word, shape in shapes.items()}
    if kind.script:
        properties["script"] = _script()
    words = {"kind": {}, "args": _ARGS, "with": _ARGS, **properties, **{word: {} for word in IGNORED}}
    given = [{"anyOf": [_filled(word) for word in group]} for group in kind.required]
    return {**_mapping(words, words), **({"allOf": given} if given else {})}


def _script() -> Schema:
    source = _mapping(
        SCRIPT_SOURCE_FIELDS, {"type": {"enum": [word for word, known in SCRIPT_SOURCES.items() if known]}}, required=("type",)
    )
    return _mapping(("uri", "source"), {"uri": _TEXT, "source": source}, required=("uri", "source"))


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
