"""Templates as code: text to a checked syntax tree, the tree to a generator of pieces."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import StringIO
from typing import Any

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import TemplateSyntaxError
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context
from jinja2.visitor import NodeTransformer

from noetl.playbook.environment import AGAIN, ENVELOPE, METHOD, ROW, SLICE, Sandbox
from noetl.playbook.shell import QUOTED

Root = Callable[[Context], Iterator[Any]]

_REFUSED = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.ScopedEvalContextModifier: "autoescape",
}
_SELF = frozenset({"data", "result"})


@lru_cache(maxsize=1)
def sandbox() -> Sandbox:
    """Return the environment of all templates."""
    return Sandbox()


class TooDeep(TemplateSyntaxError):
    """A template nested so deeply that it cannot be read."""


def parse(text: str) -> nodes.Template:
    """Return a template's syntax tree; raise TemplateSyntaxError when it is none or uses what templates here do not have."""
    try:
        tree = sandbox().parse(text)
        _check(tree)
    except (RecursionError, MemoryError):
        raise TooDeep("too deeply nested", 1) from None
    except ValueError:
        # Python refuses to read integers of thousands of digits.
        raise TemplateSyntaxError("a number is too long", 1) from None
    return tree


def _check(tree: nodes.Template) -> None:
    environment = sandbox()
    for node in tree.find_all(tuple(_REFUSED)):
        raise TemplateSyntaxError(f"'{_REFUSED[type(node)]}' is not available in templates", node.lineno)
    for attribute in tree.find_all(nodes.Getattr):
        if attribute.attr.startswith("__") and attribute.attr.endswith("__"):
            raise TemplateSyntaxError(f"{attribute.attr!r} is internal and cannot be read", attribute.lineno)
    for use in tree.find_all((nodes.Filter, nodes.Test)):
        known: dict[str, Any] = environment.filters if isinstance(use, nodes.Filter) else environment.tests
        if use.name not in known and use.name != "raw":
            kind = "filter" if isinstance(use, nodes.Filter) else "test"
            near = difflib.get_close_matches(use.name, [name for name in known if " " not in name], 1)
            raise TemplateSyntaxError(f"there is no {kind} {use.name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), use.lineno)


def lone_expression(tree: nodes.Template) -> nodes.Expr | None:
    """Return the expression of a template that is nothing but `{{ expression }}` with white space around it."""
    pieces = [piece for node in tree.body for piece in (node.nodes if isinstance(node, nodes.Output) else [node])]
    pieces = [piece for piece in pieces if not (isinstance(piece, nodes.TemplateData) and piece.data.isspace())]
    if len(pieces) == 1 and isinstance(pieces[0], nodes.Expr) and not isinstance(pieces[0], nodes.TemplateData):
        return pieces[0]
    return None


def compile_text(tree: nodes.Template, envelopes: frozenset[str]) -> Template:
    """Compile a tree to a template whose root yields pieces of text."""
    return _compile(_Rewriting(envelopes).visit(tree), _TextGenerator)


def compile_native(tree: nodes.Template, envelopes: frozenset[str]) -> Template:
    """Compile a tree to a template whose root yields values as they are."""
    return _compile(_Rewriting(envelopes).visit(tree), _NativeGenerator)


def compile_shell(tree: nodes.Template, envelopes: frozenset[str]) -> Template:
    """Compile a tree to a template whose root yields text, and the values that are still to be quoted for a shell."""
    return _compile(_Rewriting(envelopes).visit(_mark_values(tree)), _NativeGenerator)


def without_marks(tree: nodes.Template) -> nodes.Template:
    """Return a tree as it is compiled, without envelopes: `| raw` taken off, lookups turned into calls."""
    rewritten: nodes.Template = _Rewriting(frozenset()).visit(tree)
    return rewritten


def _compile(tree: nodes.Template, generator_class: type[CodeGenerator]) -> Template:
    environment = sandbox()
    generator = generator_class(environment, None, None, optimized=False)
    generator.visit(tree)
    assert isinstance(generator.stream, StringIO)
    code = compile(generator.stream.getvalue(), "<template>", "exec")
    return Template.from_code(environment, code, {})


class Unfolded:
    """A code generator's part that evaluates no constant expressions."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> Any:
        if not isinstance(node, nodes.TemplateData):
            # A constant expression may be enormous: it is evaluated when it is rendered, under that moment's limits.
            raise nodes.Impossible
        return node.data


class _TextGenerator(Unfolded, CodeGenerator):
    pass


class _NativeGenerator(Unfolded, NativeCodeGenerator):
    pass


class _Rewriting(NodeTransformer):
    """Turns lookups with rules of their own into calls of internal filters."""

    def __init__(self, envelopes: frozenset[str]) -> None:
        self.envelopes = envelopes

    def is_envelope(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name(name=name):
                return name in self.envelopes
            case nodes.Getattr(node=nodes.Name(name="steps")) | nodes.Getitem(node=nodes.Name(name="steps"), arg=nodes.Const()):
                return True
        return False

    def is_result(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Getattr(node=below, attr=key) | nodes.Getitem(node=below, arg=nodes.Const(value=key)) if key in _SELF:
                return self.is_envelope(below)
        return self.is_envelope(node)

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        below = self.visit(node.node)
        if node.attr in _SELF and not self.is_envelope(node.node) and self.is_result(node.node):
            return _call(AGAIN, node, below, node.attr)
        return _call(ENVELOPE if self.is_envelope(node.node) else None, node, below, node.attr)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        match node.arg:
            case nodes.Const(value=str() as key) if self.is_envelope(node.node):
                return _call(ENVELOPE, node, self.visit(node.node), key)
            case nodes.Const(value=int() as index) | nodes.Neg(node=nodes.Const(value=int() as index)) if self.is_result(node.node):
                sign = -1 if isinstance(node.arg, nodes.Neg) else 1
                return _call(ROW, node, self.visit(node.node), sign * index)
            case nodes.Slice(start=start, stop=stop, step=step):
                bounds = [self.visit(bound) if bound else nodes.Const(None) for bound in (start, stop, step)]
                return _filter(SLICE, node, self.visit(node.node), bounds)
        return self.generic_visit(node)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        if isinstance(node.node, nodes.Getattr):
            function = node.node
            node.node = _call(METHOD, function, self.visit(function.node), function.attr)
        return self.generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        if node.name == "raw" and node.node is not None:
            inner: nodes.Node = self.visit(node.node)
            return inner
        return self.generic_visit(node)


def _call(name: str | None, node: nodes.Getattr | nodes.Getitem, below: nodes.Expr, argument: str | int) -> nodes.Expr:
    if name is None:
        node.node = below
        return node
    return _filter(name, node, below, [nodes.Const(argument, lineno=node.lineno)])


def _filter(name: str, node: nodes.Node, below: nodes.Node, arguments: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(below, name, arguments, [], None, None, lineno=node.lineno, environment=node.environment)


def _mark_values(tree: nodes.Template) -> nodes.Template:
    """Mark the expressions whose output becomes part of the text at once; macros and blocks give text to expressions first."""

    def mark(node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            node.nodes = [_marked(child) for child in node.nodes]
        elif not isinstance(node, nodes.Macro | nodes.CallBlock | nodes.AssignBlock | nodes.FilterBlock):
            for child in node.iter_child_nodes():
                mark(child)

    mark(tree)
    return tree


def _marked(node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, nodes.TemplateData) or (isinstance(node, nodes.Filter) and node.name == "raw"):
        return node
    return _filter(QUOTED, node, node, [])
