"""The two ends of a transfer: where rows come from and where they go."""

from __future__ import annotations

from collections.abc import Mapping

from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.expression import is_template
from noetl.playbook.fields import find_kind, read_fields, require
from noetl.playbook.kinds import AUTH, DATABASE, REQUEST, STATEMENTS, Kind, supported
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Json
from noetl.playbook.shapes import ANY, MAPPING, TEXT

_QUERY = (tuple(STATEMENTS),)
_snowflake = Kind({}, supported=False)

SOURCES: Mapping[str, Kind] = {
    "http": Kind({**REQUEST, **dict.fromkeys(("payload", "body", "json", "data"), ANY), "data_path": TEXT}, (("url", "endpoint"),)),
    "postgres": Kind({**STATEMENTS, **DATABASE, **AUTH}, _QUERY),
    "duckdb": Kind({**STATEMENTS, "database": TEXT, **AUTH}, _QUERY),
    "snowflake": _snowflake,
}
TARGETS: Mapping[str, Kind] = {
    "postgres": Kind({**STATEMENTS, **DATABASE, **AUTH, "table": TEXT, "mapping": MAPPING, "mode": TEXT}, (("table", *STATEMENTS),)),
    "snowflake": _snowflake,
}
ENDS: Mapping[str, Mapping[str, Kind]] = {"source": SOURCES, "target": TARGETS}
"""The kinds of each end."""

KIND_WORDS = ("tool", "kind", "type")
_SAME = {**dict.fromkeys(STATEMENTS, "query"), "endpoint": "url", "credential": "auth"}
"""Words that mean another one."""

MODES: Mapping[str, str] = {"insert": "insert", "append": "insert", "upsert": "upsert", "replace": "replace"}


def read_ends(check: Check, fields: Mapping[str, Field], config: dict[str, Json]) -> None:
    """Check both ends of a transfer, and put them into its config with their kind as `kind`; a template stays as it is."""
    for word, kinds in ENDS.items():
        node = check.field(fields, word)
        if node is not None and node.fields is not None:
            config[word] = _end(check, node, word, kinds)


def _end(check: Check, node: Node, word: str, kinds: Mapping[str, Kind]) -> Mapping[str, Json] | None:
    fields = node.fields or {}
    name_node = next((found for key in KIND_WORDS if (found := check.field(fields, key)) is not None), None)
    if name_node is None:
        hint = f"kinds of this version: {', '.join(supported(kinds))}"
        check.mistakes.add(node.position, f"`{word}` of a transfer needs a `kind`", hint)
        return None
    name = check.text(name_node, f"the `kind` of `{word}`")
    kind = find_kind(check, name_node.position, name, kinds, f" of a transfer's {word}") if name else None
    if kind is None:
        return None
    what = f"a transfer's {word} of kind `{name}`"
    config: dict[str, Json] = {"kind": name}
    for key, value in read_fields(check, fields, kind, name, what, KIND_WORDS).items():
        if value is not None:
            config.setdefault(_SAME.get(key, key), value)
    require(check, node.position, fields, kind, what)
    mode = config.get("mode")
    if isinstance(mode, str) and not is_template(mode):
        if mode not in MODES:
            check.mistakes.add(fields["mode"].node.position, f"unknown `mode` {quote(mode)} of a transfer", check.nearest(mode, MODES))
        config["mode"] = MODES.get(mode, mode)
    return config
