"""A step's tool, and the workbook whose named tools steps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from noetl.playbook.check import Check
from noetl.playbook.code import check_code
from noetl.playbook.document import Field, Node
from noetl.playbook.fields import check_provider, find_kind, read_fields, require
from noetl.playbook.kinds import IGNORED, KINDS, Kind, supported
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Json, Tool
from noetl.playbook.script_source import read_script
from noetl.playbook.sinks import read_sink
from noetl.playbook.transfer import read_ends

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
        if tool_node is None:
            check.mistakes.add(item.position, f"the workbook entry {quote(name)} needs a `tool`", "write tool: {kind: python, code: …}")
        tool = read_tool(check, tool_node, f"the workbook entry {quote(name)}", None) if tool_node is not None else None
        sink = read_sink(check, sink_node) if (sink_node := check.field(fields, "sink")) is not None else None
        if name in tools and name_node is not None:
            check.mistakes.warn(name_node.position, f"the workbook has {quote(name)} already; the first one counts")
        elif name:
            tools[name] = replace(tool, sink=sink) if tool is not None else None
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
    kind = find_kind(check, kind_node.position, name, KINDS)
    if kind is None:
        return None
    if name == "workbook" and workbook is None:
        check.mistakes.add(kind_node.position, "a workbook entry cannot name another one", "write its tool here")
        return None
    config = _config(check, fields, name, kind)
    check_code(check, fields, name, place)
    require(check, node.position, fields, kind, f"a tool of kind `{name}`")
    if name in ("playbook", "playbooks"):
        return Tool("playbook", config, {**_as_args(check, fields, config), **args})
    tool = Tool(name, config, args)
    return _named(check, fields, tool, workbook) if name == "workbook" and workbook is not None else tool


def _args(check: Check, fields: Mapping[str, Field], place: str) -> dict[str, Json]:
    older = check.values(check.field(fields, "with"), f"`with` of {place}")
    return {**older, **check.values(check.field(fields, "args"), f"`args` of {place}")}


def _config(check: Check, fields: Mapping[str, Field], name: str, kind: Kind) -> dict[str, Json]:
    if "retry" in fields:
        check.mistakes.warn(fields["retry"].position, "`retry` of a tool is ignored; write it beside `tool`: retry: 3")
    own = {*_OWN_WORDS, *IGNORED, *(("script",) if kind.script else ())}
    config = read_fields(check, fields, kind, name, f"a tool of kind `{name}`", own)
    if kind.script and "script" in fields:
        config["script"] = read_script(check, fields["script"].node)
    match name:
        case "transfer":
            read_ends(check, fields, config)
        case "secrets" if (provider := check.field(fields, "provider")) is not None:
            check_provider(check, provider)
    return config


def _as_args(check: Check, fields: Mapping[str, Field], config: dict[str, Json]) -> dict[str, Json]:
    """Return the payload of a sub-playbook as args, unless it is a template, which stays in the config."""
    node = check.field(fields, "payload")
    return dict(config.pop("payload")) if node is not None and node.fields is not None else {}


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
    return Tool(entry.kind, config, {**entry.args, **tool.args}, entry.sink)
