"""A step's tool, and the workbook whose named tools steps share."""

from __future__ import annotations

from collections.abc import Mapping

from noetl.playbook.actions import not_yet
from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.duration import seconds
from noetl.playbook.kinds import COMMON, IGNORED, KINDS, SCRIPT_SOURCE_FIELDS, SCRIPT_SOURCES, Kind, supported
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Json, Tool

ENTRY_WORDS = ("name", "tool", "desc", "assert", "sink")

_OWN_WORDS = frozenset({"kind", "args", "with"})

Workbook = Mapping[str, Tool | None]
"""The tools of the workbook by name; None stands for an entry that is a mistake itself."""


def read_workbook(check: Check, node: Node | None) -> Workbook:
    """Return the workbook's tools; of two entries with one name the first counts."""
    tools: dict[str, Tool | None] = {}
    if node is None:
        return tools
    if node.items is None:
        check.mistakes.add(node.position, "`workbook` has to be a list", "write workbook: [{name: NAME, tool: {kind: …}}]")
        return tools
    for item in node.items:
        fields = check.mapping(item, "an entry of the workbook")
        if item.fields is None:
            continue
        check.words(fields, ENTRY_WORDS, "an entry of the workbook")
        name_node, tool_node = check.field(fields, "name"), check.field(fields, "tool")
        name = check.name(name_node, "the `name` of a workbook entry") if name_node is not None else ""
        if name_node is None:
            check.mistakes.add(item.position, "an entry of the workbook needs a `name`")
        if check.field(fields, "sink") is not None:
            check.mistakes.add(fields["sink"].position, not_yet("`sink`"))
        if tool_node is None:
            check.mistakes.add(item.position, f"the workbook entry {quote(name)} needs a `tool`", "write tool: {kind: python, code: …}")
        tool = read_tool(check, tool_node, f"the workbook entry {quote(name)}", None) if tool_node is not None else None
        if name in tools and name_node is not None:
            check.mistakes.warn(name_node.position, f"the workbook has {quote(name)} already; the first one counts")
        elif name:
            tools[name] = tool
    return tools


def read_tool(check: Check, node: Node, place: str, workbook: Workbook | None) -> Tool | None:
    """Return a tool, for the kind `workbook` the one that is named there; None when it is a mistake."""
    if node.fields is None:
        kind_word = node.text if node.text in KINDS else "…"
        check.mistakes.add(node.position, f"`tool` of {place} has to be a mapping", f"write tool: {{kind: {kind_word}, …}}")
        return None
    fields = node.fields
    kind_node = check.field(fields, "kind")
    if kind_node is None:
        check.mistakes.add(node.position, f"`tool` of {place} needs a `kind`", f"kinds of this version: {', '.join(supported())}")
        return None
    name = check.text(kind_node, f"`kind` of the tool of {place}")
    args = _args(check, fields, place)
    if not name:
        return None
    kind = KINDS.get(name)
    if kind is None:
        check.mistakes.add(kind_node.position, f"unknown kind {quote(name)}", check.nearest(name, KINDS))
    elif not kind.supported:
        check.mistakes.add(kind_node.position, not_yet(f"kind `{name}`"), f"kinds of this version: {', '.join(supported())}")
    elif name == "workbook" and workbook is None:
        check.mistakes.add(kind_node.position, "a workbook entry cannot name another one", "write its tool here")
    else:
        tool = Tool(name, _config(check, fields, name, kind), args)
        _require(check, node, fields, name, kind)
        return _named(check, fields, tool, workbook) if name == "workbook" and workbook is not None else tool
    return None


def _args(check: Check, fields: Mapping[str, Field], place: str) -> dict[str, Json]:
    older = check.values(check.field(fields, "with"), f"`with` of {place}")
    return {**older, **check.values(check.field(fields, "args"), f"`args` of {place}")}


def _config(check: Check, fields: Mapping[str, Field], name: str, kind: Kind) -> dict[str, Json]:
    shapes = {**COMMON, **kind.fields}
    known = {*shapes, *_OWN_WORDS, *IGNORED, *(("script",) if kind.script else ())}
    check.words(fields, known, f"a tool of kind `{name}`")
    if "retry" in fields:
        check.mistakes.warn(fields["retry"].position, "`retry` of a tool is ignored; what repeats is an action in the step's `case`")
    config: dict[str, Json] = {}
    for word, field in fields.items():
        if word == "script" and kind.script:
            _script(check, field.node)
            config[word] = check.value(field.node)
        elif word in shapes:
            if not shapes[word].accepts(field.node.value):
                check.mistakes.add(field.node.position, f"`{word}` of kind `{name}` has to be {shapes[word].words}")
            config[word] = field.node.value if word in kind.code else check.value(field.node)
    if (timeout := seconds(config.get("timeout"))) is not None:
        config["timeout"] = timeout
    return config


def _require(check: Check, node: Node, fields: Mapping[str, Field], name: str, kind: Kind) -> None:
    for group in kind.required:
        if all(_is_empty(check.field(fields, word)) for word in group):
            one = f"`{group[0]}`" if len(group) == 1 else f"one of {', '.join(f'`{word}`' for word in group)}"
            check.mistakes.add(node.position, f"a tool of kind `{name}` needs {one}")


def _is_empty(node: Node | None) -> bool:
    return node is None or not (node.value.strip() if isinstance(node.value, str) else node.value)


def _script(check: Check, node: Node) -> None:
    fields = check.mapping(node, "`script`")
    if node.fields is None:
        return
    check.words(fields, ("uri", "source"), "`script`")
    source = check.field(fields, "source")
    kind = check.field(check.mapping(source, "`source` of `script`"), "type") if source is not None else None
    if source is None or (source.fields is not None and kind is None):
        check.mistakes.add(node.position, "`script` needs `source` with a `type`", "write script: {uri: PATH, source: {type: file}}")
        return
    if kind is None:
        return
    check.words(source.fields or {}, SCRIPT_SOURCE_FIELDS, "`source` of `script`")
    name = check.text(kind, "`type` of `source`")
    if name and name not in SCRIPT_SOURCES:
        check.mistakes.add(kind.position, f"unknown source {quote(name)} of a script", check.nearest(name, SCRIPT_SOURCES))
    elif name and not SCRIPT_SOURCES[name]:
        check.mistakes.add(kind.position, not_yet(f"source `{name}` of a script"), "load the script from a file: {type: file}")
    elif name and check.field(fields, "uri") is None:
        check.mistakes.add(node.position, "`script` needs a `uri`")
    elif name:
        check.text(fields["uri"].node, "`uri` of `script`")


def _named(check: Check, fields: Mapping[str, Field], tool: Tool, workbook: Workbook) -> Tool | None:
    """Return the workbook's tool that a step names, with the step's args and timeout over its own."""
    node = check.field(fields, "name") or check.field(fields, "task")
    if node is None or not isinstance(node.value, str):
        return None
    if node.value not in workbook:
        check.mistakes.add(node.position, f"the workbook has no {quote(node.value)}", check.nearest(node.value, workbook))
    entry = workbook.get(node.value)
    if entry is None:
        return None
    config = {**entry.config, "timeout": tool.config["timeout"]} if tool.config.get("timeout") is not None else entry.config
    return Tool(entry.kind, config, {**entry.args, **tool.args})
