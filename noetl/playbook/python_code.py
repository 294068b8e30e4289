"""What the code of a python step takes and reads, found without running it."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from dataclasses import dataclass
from functools import lru_cache

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_BUILTINS = frozenset(dir(builtins))
FILENAME = "<a playbook's code>"
"""What the code is called while it is read, also as a module by the filters of warnings."""
_UNSAID = ("ignore", None, Warning, re.compile(re.escape(FILENAME)), 0)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a python step's `main` takes: all named parameters, those without default, and whether there is `**` and `*`."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    keywords: bool = False
    varargs: bool = False
    takes_context: bool = False


@lru_cache(maxsize=1024)
def main_parameters(code: str) -> Parameters | None:
    """Return the parameters of a code's `main`; None when it has none or is no Python."""
    tree = _parsed(code)
    main = None if tree is None else _main(tree.body)
    if main is None:
        return None
    taken = main.args
    positional = [*taken.posonlyargs, *taken.args]
    required = positional[: len(positional) - len(taken.defaults)]
    required += [name for name, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if default is None]
    names = tuple(parameter.arg for parameter in (*positional, *taken.kwonlyargs))
    return Parameters(
        names=names,
        required=tuple(parameter.arg for parameter in required),
        keywords=taken.kwarg is not None,
        varargs=taken.vararg is not None,
        takes_context="context" in names,
    )


@lru_cache(maxsize=1024)
def free_names(code: str) -> frozenset[str]:
    """Return the global names, other than Python's own, that code reads and has not bound before; nothing when it is no Python."""
    tree = _parsed(code)
    if tree is None:
        return frozenset()
    try:
        reader = _Reader()
        reader.visit(tree)
        inside = _read_in_functions(ast.unparse(tree))
    except (RecursionError, SyntaxError, ValueError):
        return frozenset()
    return frozenset((reader.free | inside - reader.bound) - _BUILTINS)


def unwarned() -> None:
    """See to it that no warning of Python about a playbook's code is printed, or raised as an error.

    Its filter goes ahead of the process's others and stays there: what puts filters back is not safe among threads.
    """
    if [*warnings.filters[:1]] != [_UNSAID]:
        warnings.filterwarnings("ignore", module=re.escape(FILENAME))


def _parsed(code: str) -> ast.Module | None:
    """Parse code, if need be with its templates taken out."""
    unwarned()
    for text in (code, _TEMPLATE.sub(lambda template: "None" if template[0].startswith("{{") else "", code)):
        try:
            return ast.parse(text, FILENAME)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _main(body: list[ast.stmt]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    found = None
    for statement in body:
        match statement:
            case ast.FunctionDef(name="main") | ast.AsyncFunctionDef(name="main"):
                found = statement
            case ast.If() | ast.Try():
                handlers = statement.handlers if isinstance(statement, ast.Try) else []
                for block in (statement.body, *(handler.body for handler in handlers), statement.orelse):
                    found = _main(block) or found
    return found


def _read_in_functions(code: str) -> set[str]:
    """Return the global names that functions, lambdas and classes read."""
    found: set[str] = set()
    waiting = symtable.symtable(code, "<code>", "exec").get_children()
    while waiting:
        table = waiting.pop()
        found |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
        waiting += table.get_children()
    return found


class _Reader(ast.NodeVisitor):
    """Follows a module's statements in the order in which they run; bodies of functions and classes are left out."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.free: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.free.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._in_order(node.value, *node.targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._in_order(node.value, node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.visit_Name(ast.Name(node.target.id, ast.Load()))
        self._in_order(node.value, node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._in_order(node.value, node.target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._in_order(node.iter, node.target, *node.body, *node.orelse)

    visit_AsyncFor = visit_For

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._in_order(*node.decorator_list, *self._defaults(node.args))
        self.bound.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._in_order(*node.decorator_list, *node.bases, *node.keywords)
        self.bound.add(node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._in_order(*self._defaults(node.args))

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self._bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        outside = set(self.bound)
        for generator in node.generators:
            self._in_order(generator.iter, generator.target, *generator.ifs)
        self._in_order(*([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]))
        self.bound = outside

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp

    def _bind(self, name: str | None) -> None:
        if name is not None:
            self.bound.add(name)

    def _in_order(self, *parts: ast.AST) -> None:
        for part in parts:
            self.visit(part)

    @staticmethod
    def _defaults(arguments: ast.arguments) -> list[ast.expr]:
        return [*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)]
