"""What comes in kinds (tools, sinks, the ends of a transfer, entries of the keychain): its fields, read by the tables of kinds."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.duration import seconds
from noetl.playbook.expression import is_template
from noetl.playbook.kinds import COMMON, PROVIDERS, Kind, supported
from noetl.playbook.mistakes import not_yet, quote
from noetl.playbook.model import Json, Position
from noetl.playbook.shapes import Fields, Shape, Words


def find_kind(check: Check, position: Position, name: str, kinds: Mapping[str, Kind], of: str = "") -> Kind | None:
    """Return a kind that this version has; `of` says what of, for the message (` of a sink`)."""
    kind = kinds.get(name)
    if kind is None:
        check.mistakes.add(position, f"unknown kind {quote(name)}{of}", check.nearest(name, kinds))
    elif not kind.supported:
        check.mistakes.add(position, not_yet(f"kind `{name}`{of}"), kind.instead or f"kinds of this version: {', '.join(supported(kinds))}")
        return None
    return kind


def read_fields(
    check: Check,
    fields: Mapping[str, Field],
    kind: Kind,
    name: str,
    what: str,
    own: Collection[str] = (),
    shared: Mapping[str, Shape] = COMMON,
) -> dict[str, Json]:
    """Return the values of a kind's fields; the words of `own` are read by others, those of `shared` are known to all kinds."""
    shapes = {**shared, **kind.fields}
    check.words(fields, {*shapes, *own}, what)
    config: dict[str, Json] = {}
    for word, field in fields.items():
        if word in shapes and word not in own:
            check_shape(check, field.node, shapes[word], f"`{word}` of kind `{name}`")
            config[word] = field.node.value if word in kind.code else check.value(field.node)
    if (timeout := seconds(config.get("timeout"))) is not None:
        config["timeout"] = timeout
    return config


def check_shape(check: Check, node: Node, shape: Shape, what: str) -> None:
    """Refuse a value that a field does not take."""
    if not shape.accepts(node.value):
        hint = check.nearest(node.text, shape.known) if isinstance(shape, Words) else ""
        check.mistakes.add(node.position, f"{what} has to be {shape.words}", hint)
    elif isinstance(shape, Fields) and node.fields is not None:
        check.words(node.fields, shape.fields, what)
        for word, field in node.fields.items():
            if word in shape.fields:
                check_shape(check, field.node, shape.fields[word], f"`{word}` of {what}")


def require(check: Check, position: Position, fields: Mapping[str, Field], kind: Kind, what: str) -> None:
    """Refuse what has none of the fields of which a kind needs one."""
    for group in kind.required:
        if all(_is_empty(check.field(fields, word)) for word in group):
            one = f"`{group[0]}`" if len(group) == 1 else f"one of {', '.join(f'`{word}`' for word in group)}"
            check.mistakes.add(position, f"{what} needs {one}")


def check_provider(check: Check, node: Node) -> None:
    """Refuse a provider of secrets that there is not."""
    name = node.value.lower() if isinstance(node.value, str) else ""
    if name and name not in PROVIDERS and not is_template(name):
        check.mistakes.add(node.position, f"unknown provider {quote(name)} of secrets", check.nearest(name, PROVIDERS))


def _is_empty(node: Node | None) -> bool:
    return node is None or not (node.value.strip() if isinstance(node.value, str) else node.value)
