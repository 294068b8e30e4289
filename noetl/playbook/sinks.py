"""The action `sink`: where it writes and what, in whichever of its two shapes it is written."""

from __future__ import annotations

from collections.abc import Mapping

from noetl.playbook.check import NOTHING, Check
from noetl.playbook.code import check_code
from noetl.playbook.document import Field, Node
from noetl.playbook.expression import is_template
from noetl.playbook.fields import find_kind, read_fields, require
from noetl.playbook.kinds import AUTH, CODE, DATABASE, IGNORED, OBJECT, REQUEST, STATEMENTS, Kind, supported
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Json, Sink, Step, Tool
from noetl.playbook.shapes import ANY, MAPPING, TEXT, TEXTS

_STATEMENTS = {"statement": TEXTS, "statements": TEXTS, **STATEMENTS}
_event = Kind({})

SINKS: Mapping[str, Kind] = {
    "event": _event,
    "event_log": _event,
    "postgres": Kind(
        {**_STATEMENTS, **DATABASE, **AUTH, "table": TEXT, "mode": TEXT, "key": TEXTS, "keys": TEXTS},
        required=((*_STATEMENTS, "table"),),
    ),
    "duckdb": Kind({**_STATEMENTS, "database": TEXT, **AUTH}, required=(tuple(_STATEMENTS),)),
    "python": Kind({**CODE, "libs": MAPPING, **AUTH}, required=(tuple(CODE),), code=frozenset({"code"})),
    "http": Kind({**REQUEST, "body": ANY, "json": ANY}, required=(("url", "endpoint"),)),
    "gcs": Kind(OBJECT, required=(("destination",),)),
    "snowflake": Kind({}, supported=False),
}
"""The kinds of sinks, with the fields that each knows beside those of the data."""

DATA_WORDS = ("args", "data", "payload", "from")
TOOL_WORDS = ("tool", "backend")
KIND_WORDS = ("kind", "type")
MODES: Mapping[str, str] = {"insert": "insert", "append": "insert", "upsert": "upsert"}

OWN_WORDS = frozenset({*TOOL_WORDS, *KIND_WORDS, *DATA_WORDS, *IGNORED})
_SAME = {**dict.fromkeys(_STATEMENTS, "statement"), "credential": "auth", "endpoint": "url", "keys": "key"}
"""Words that mean another one."""

_HINT = "write sink: {tool: postgres, table: NAME, args: {COLUMN: VALUE}}"


def read_sink(check: Check, node: Node) -> Sink | None:
    """Read where a result is written to: `{tool: KIND, …}`, or `{tool: {kind: KIND, …}}` with any of its fields beside the tool."""
    beside = check.mapping(node, "`sink`")
    if node.fields is None:
        return None
    nested = next((tool.fields for word in TOOL_WORDS if (tool := check.field(beside, word)) is not None and tool.fields), NOTHING)
    named = _kind(check, node, nested, beside)
    if named is None:
        return None
    name, kind = named
    what = f"a sink of kind `{name}`"
    given = {word: field for word, field in nested.items() if field.node.value is not None}
    fields = {**given, **{word: field for word, field in beside.items() if word not in given}}
    if kind is _event:
        config: dict[str, Json] = {word: check.value(field.node) for word, field in fields.items() if word not in OWN_WORDS}
    else:
        written = read_fields(check, fields, kind, name, what, OWN_WORDS)
        check_code(check, fields, name, what, only_warn=True)
        require(check, node.position, fields, kind, what)
        config = _normal(written)
    if name == "postgres":
        _rows(check, node, fields, config)
    data, args = _data(check, nested, beside, name)
    return Sink(Tool("event" if kind is _event else name, config, args), check.value(data) if data else None, data is not None)


def sinks_of(step: Step, rule: int) -> list[Sink]:
    """Return what is written for a call: the sinks of a rule (-1 for none), then that of the workbook's entry which the tool is from."""
    own = [action for action in step.rules[rule].then if isinstance(action, Sink)] if rule >= 0 else []
    return own if step.tool is None or step.tool.sink is None else [*own, step.tool.sink]


def _kind(check: Check, node: Node, nested: Mapping[str, Field], beside: Mapping[str, Field]) -> tuple[str, Kind] | None:
    """Return the kind: of the nested tool, else the tool's name itself, else what stands beside."""
    places = [(nested, KIND_WORDS), (beside, TOOL_WORDS), (beside, KIND_WORDS)]
    nodes = (check.field(fields, word) for fields, words in places for word in words)
    found = next((found for found in nodes if found is not None and found.fields is None), None)
    if found is None:
        hint = _HINT if not nested else f"kinds of this version: {', '.join(supported(SINKS))}"
        check.mistakes.add(node.position, "`sink` needs a `tool` with a `kind`", hint)
        return None
    name = check.text(found, "`tool` of `sink`")
    kind = find_kind(check, found.position, name, SINKS, " of a sink") if name else None
    return (name, kind) if kind is not None else None


def _normal(written: Mapping[str, Json]) -> dict[str, Json]:
    """Return the config with one word for each meaning; of two the first that is given counts, which is the nested one."""
    config: dict[str, Json] = {}
    for word, value in written.items():
        if value is not None:
            config.setdefault(_SAME.get(word, word), value)
    return config


def _rows(check: Check, node: Node, fields: Mapping[str, Field], config: dict[str, Json]) -> None:
    """Check how rows are written, and make a list of the key."""
    mode, key = config.get("mode"), config.get("key")
    if isinstance(mode, str) and not is_template(mode):
        known = mode.strip().lower()
        if known not in MODES:
            check.mistakes.add(fields["mode"].node.position, f"unknown `mode` {quote(mode)} of a sink", check.nearest(known, MODES))
        config["mode"] = MODES.get(known, "insert")
        if config["mode"] == "upsert" and not key and "statement" not in config:
            hint = "write key: COLUMN, or a list of the columns that tell rows apart"
            check.mistakes.add(node.position, "a sink with mode `upsert` needs a `key`", hint)
    if isinstance(key, str) and not is_template(key):
        config["key"] = [name.strip() for name in key.split(",")]


def _data(check: Check, nested: Mapping[str, Field], beside: Mapping[str, Field], name: str) -> tuple[Node | None, Mapping[str, Json]]:
    """Return what is written; python code can have args by name beside the data."""
    given = [(word, found) for fields in (nested, beside) for word in DATA_WORDS if (found := check.field(fields, word)) is not None]
    args = next((found for word, found in given if word == "args" and found.fields is not None), None)
    others = [found for word, found in given if word != "args"]
    if name == "python" and args is not None and others:
        return others[0], check.values(args, "`args` of a sink")
    return next(iter(found for _, found in given), None), {}
