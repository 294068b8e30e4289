"""The field `script`: where a step's code comes from when it does not hold it itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from noetl.playbook.check import Check
from noetl.playbook.document import Node
from noetl.playbook.fields import check_shape
from noetl.playbook.kinds import AUTH
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Json
from noetl.playbook.shapes import DURATION, MAPPING, METHOD, TEXT, Shape


@dataclass(frozen=True, slots=True)
class Source:
    """A source of scripts: the words of which it needs one; `uri` stands beside the source."""

    needs: tuple[str, ...] = ("uri",)


SOURCES: Mapping[str, Source] = {
    "file": Source(),
    "http": Source(("uri", "endpoint")),
    "inline": Source(("code",)),
    "gcs": Source(),
    "s3": Source(),
}
SOURCE_FIELDS: Mapping[str, Shape] = {
    **dict.fromkeys(("type", "endpoint", "region", "code"), TEXT),
    "method": METHOD,
    "headers": MAPPING,
    "timeout": DURATION,
    **AUTH,
}

_HINT = "write script: {uri: PATH, source: {type: file}}"


def read_script(check: Check, node: Node) -> Json:
    """Check a `script` and return it as it is written; the code of an inline one may be no template."""
    fields = check.mapping(node, "`script`")
    if node.fields is None:
        return None
    check.words(fields, ("uri", "source"), "`script`")
    source, uri = check.field(fields, "source"), check.field(fields, "uri")
    inner = check.mapping(source, "`source` of `script`") if source is not None else {}
    kind = check.field(inner, "type")
    if uri is not None and check.text(uri, "`uri` of `script`"):
        check.value(uri)
    for word, field in inner.items():
        if word != "code":
            check.value(field.node)
    if source is None or (source.fields is not None and kind is None):
        check.mistakes.add(node.position, "`script` needs `source` with a `type`", _HINT)
    if kind is None:
        return node.value
    check.words(inner, SOURCE_FIELDS, "`source` of `script`")
    for word, field in inner.items():
        if word != "type" and word in SOURCE_FIELDS:
            check_shape(check, field.node, SOURCE_FIELDS[word], f"`{word}` of `source`")
    name = check.text(kind, "`type` of `source`")
    found = SOURCES.get(name)
    if name and found is None:
        check.mistakes.add(kind.position, f"unknown source {quote(name)} of a script", check.nearest(name, SOURCES))
    elif found is not None and all(check.field(fields if word == "uri" else inner, word) is None for word in found.needs):
        words = " or ".join(f"`{word}`" + (" in its `source`" if word != "uri" else "") for word in found.needs)
        check.mistakes.add(node.position, f"`script` needs a {words}")
    return node.value
