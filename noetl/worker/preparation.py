"""Rendering a job: its args first, then the tool's config, with the text to execute as `config["code"]`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noetl.playbook import arguments
from noetl.playbook.expression import TemplateError, Templates
from noetl.playbook.model import Json
from noetl.tools import script
from noetl.tools.base import ToolError
from noetl.tools.registry import Kind
from noetl.tools.request import Find
from noetl.worker.overrides import overridden

_FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "python": (("code_b64", "code_base64"), ("code",)),
    "sql": (
        ("command_b64", "commands_b64", "query_b64"),
        ("query", "queries", "command", "commands", "cmd", "cmds", "sql", "statement", "statements"),
    ),
    "shell": ((), ("cmds", "command", "cmd")),
}
_CODE_FIELDS = {language: frozenset((*encoded, *plain, "script")) for language, (encoded, plain) in _FIELDS.items()}


def rendered_args(job: Mapping[str, Any], templates: Templates, scope: Mapping[str, Any]) -> dict[str, Json]:
    """Return the args of §6: the tool's, under the step's, under those of the transition, which are values that the others can use."""
    run_args = job["run_args"]
    scope = {**scope, **run_args, "args": run_args}
    written = arguments.effective_args(job["tool_args"], job["step_args"], run_args)
    return {name: value if name in run_args else _at(f"args.{name}", templates.render, value, scope) for name, value in written.items()}


@dataclass(frozen=True, slots=True)
class Reading:
    """What it takes to read the code of a config: the credentials of its `script`, and whether there may be none.

    `names` are those that templates in the code see of which the server has not seen that they are used: they are fetched when read.
    """

    find: Find
    secrets: set[str]
    names: Mapping[str, Any]
    code_optional: bool = False


def rendered_config(
    job: Mapping[str, Any], kind: Kind, templates: Templates, scope: Mapping[str, Any], reading: Reading
) -> dict[str, Json]:
    """Return the config with its templates rendered; `code` is the text to execute (a list of commands for a shell)."""
    config = job["config"]
    code_fields = _CODE_FIELDS[kind.language] if kind.language is not None else ()
    rendered = {name: _at(name, templates.render, value, scope) for name, value in config.items() if name not in code_fields}
    if kind.language is not None:
        rendered["code"] = _code(config, kind.language, templates, scope, reading)
    return overridden(rendered, job["overrides"]) if job["overrides"] else rendered


def _code(config: Mapping[str, Json], language: str, templates: Templates, scope: Mapping[str, Any], reading: Reading) -> Json:
    encoded, plain = _FIELDS[language]
    written = config.get("script")
    if isinstance(written, Mapping) and _source_type(written) == "inline":
        return _rendered_code(script.load(written, reading.find, reading.secrets), language, templates, scope)
    if written:
        text: Json = script.load(templates.render(written, scope), reading.find, reading.secrets)
        return text if language == "python" else _rendered_code(text, language, templates, reading.names)
    for name in encoded:
        if config.get(name):
            text = _decoded(name, templates.render(config[name], scope))
            return text if language == "python" else _rendered_code(text, language, templates, reading.names)
    for name in plain:
        if config.get(name):
            return _at(name, _rendered_code, config[name], language, templates, scope)
    if reading.code_optional and language != "python":
        return None
    raise ToolError(f"there is nothing to run: give {' or '.join((*plain[:2], *encoded[:1]))}", type="config")


def _at(field: str, render: Callable[..., Json], *what: Any) -> Json:
    """Render a field of the step, and say which one it is where that fails."""
    try:
        return render(*what)
    except TemplateError as error:
        raise TemplateError(f"`{field}`: {error.message}", error.hint) from error


def _source_type(written: Mapping[str, Json]) -> Json:
    source = written.get("source")
    return source.get("type") if isinstance(source, Mapping) else source


def _rendered_code(value: Json, language: str, templates: Templates, scope: Mapping[str, Any]) -> Json:
    if language == "shell":
        return [templates.render_shell(text, scope) for text in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        return "\n".join(str(_rendered_code(item, language, templates, scope)) for item in value)
    text = str(value)
    if language == "python":
        try:
            return templates.render_text(text, scope)
        except TemplateError:
            return text
    if text.lstrip().startswith("{{") and text.rstrip().endswith("}}"):
        native = templates.render(text.strip(), scope)
        return "\n".join(map(str, native)) if isinstance(native, list) else "" if native is None else str(native)
    return templates.render_text(text, scope)


def _decoded(name: str, value: Json) -> str:
    try:
        return base64.b64decode(value if isinstance(value, str) else "", validate=False).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ToolError(f"{name} is no base64 of UTF-8 text", type="config") from error
