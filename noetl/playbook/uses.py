"""Which names the templates of a value read, and which the code of a python step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.idtracking import VAR_LOAD_RESOLVE

from noetl.playbook import program
from noetl.playbook.arguments import parse_json_text
from noetl.playbook.model import Json
from noetl.playbook.python_code import Parameters, free_names, main_parameters

__all__ = ["Parameters", "Uses", "free_names", "main_parameters", "names", "parse_json_text"]

Uses = frozenset[tuple[str, str | None]]


def names(value: Json) -> Uses:
    """Return the names that the templates in a value read: with the attribute where only attributes are, with None where all of it is."""
    used: set[tuple[str, str | None]] = set()
    for text in _texts(value):
        used |= _names(text)
    whole = {root for root, attribute in used if attribute is None}
    return frozenset((root, attribute) for root, attribute in used if attribute is None or root not in whole)


def called(value: Json) -> frozenset[str]:
    """Return the names of the functions that the templates in a value call."""
    return frozenset(name for text in _texts(value) for name in _called(text))


def _texts(value: Json) -> Iterator[str]:
    match value:
        case str():
            if "{{" in value or "{%" in value:
                yield value
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)


class _Tracking(program.Unfolded, CodeGenerator):
    """Finds the names that are looked up when a template is rendered; as in jinja2.meta, but without evaluating constants."""

    def __init__(self) -> None:
        super().__init__(program.sandbox(), None, None, optimized=False)
        self.looked_up: set[str] = set()

    def write(self, x: str) -> None:
        """Drop the code."""

    def enter_frame(self, frame: Frame) -> None:
        """Remember the names that a frame loads from outside."""
        super().enter_frame(frame)
        self.looked_up.update(name for action, name in frame.symbols.loads.values() if action == VAR_LOAD_RESOLVE and name)


@lru_cache(maxsize=8192)
def _names(text: str) -> Uses:
    try:
        tree = program.parse(text)
        used = frozenset(_occurrences(tree))
        tracking = _Tracking()
        tracking.visit(program.without_marks(tree))
    except Exception:
        # What cannot be compiled cannot be rendered either: it reads nothing.
        return frozenset()
    return frozenset((root, attribute) for root, attribute in used if root in tracking.looked_up)


@lru_cache(maxsize=8192)
def _called(text: str) -> frozenset[str]:
    try:
        found = [call.node for call in program.parse(text).find_all(nodes.Call)]
    except Exception:
        # As above.
        return frozenset()
    return frozenset(node.name for node in found if isinstance(node, nodes.Name))


def _occurrences(node: nodes.Node) -> Iterator[tuple[str, str | None]]:
    match node:
        case nodes.Call(node=nodes.Getattr(node=nodes.Name(name=root))):
            # A method of the whole value.
            yield root, None
            for child in node.iter_child_nodes(exclude=("node",)):
                yield from _occurrences(child)
        case nodes.Getattr(node=nodes.Name(name=root), attr=attribute):
            yield root, attribute
        case nodes.Getitem(node=nodes.Name(name=root), arg=nodes.Const(value=str() as attribute)):
            yield root, attribute
        case nodes.Name(name=root, ctx="load"):
            yield root, None
        case _:
            for child in node.iter_child_nodes():
                yield from _occurrences(child)
