"""Which templates are cheap and bounded, so that they may be rendered where nothing limits them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from jinja2 import nodes

from noetl.playbook import program
from noetl.playbook.model import Json

_LONGEST = 65_536
_MOST_NAMES = 256
"""Each use of a name may put a whole value into the text."""

_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.Const,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
    nodes.Div,
    nodes.FloorDiv,
    nodes.Neg,
    nodes.Pos,
    nodes.CondExpr,
    nodes.List,
    nodes.Dict,
    nodes.Pair,
    nodes.Tuple,
    nodes.Test,
    nodes.Filter,
    nodes.Keyword,
)
_FILTERS = frozenset(
    {"default", "d", "length", "count", "int", "float", "string", "lower", "upper", "trim", "first", "last", "round", "abs"}
    | {"tojson", "title", "capitalize", "b64encode"}
)


def is_plain(value: Json) -> bool:
    """Tell whether every template in a value consists of lookups, comparisons, sums and cheap filters only."""
    match value:
        case str():
            return ("{{" not in value and "{%" not in value) or _is_plain(value)
        case Mapping():
            return all(is_plain(item) for item in value.values())
        case list() | tuple():
            return all(is_plain(item) for item in value)
    return True


@lru_cache(maxsize=4096)
def _is_plain(text: str) -> bool:
    if len(text) > _LONGEST:
        return False
    try:
        tree = program.parse(text)
        names = 0
        for node in tree.find_all(nodes.Node):
            if not isinstance(node, _NODES) or (isinstance(node, nodes.Filter) and node.name not in _FILTERS):
                return False
            names += isinstance(node, nodes.Name)
    except Exception:
        return False
    return names <= _MOST_NAMES
