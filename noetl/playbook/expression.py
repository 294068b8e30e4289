"""Rendering of templates: a lone `{{ expression }}` gives its value, everything else gives text."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError

from noetl.errors import NoetlError
from noetl.playbook import filters, program, shell
from noetl.playbook.environment import Names
from noetl.playbook.model import Json
from noetl.playbook.plain import is_plain
from noetl.playbook.problem import Problem

__all__ = ["Compiled", "Problem", "TemplateError", "Templates", "is_plain", "is_template", "syntax_error"]

Scope = Mapping[str, Any]
Render = Callable[[Scope], Json]

_EXCERPT = 120
_COMPUTE = "Compute such a value in a python step"
_TRUE = frozenset({"true", "1", "yes"})
_SCALARS: frozenset[type] = frozenset({str, int, bool, type(None)})
_LOOKUPS = (
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Const,
    nodes.Compare,
    nodes.Operand,
    nodes.Not,
    nodes.And,
    nodes.Or,
    nodes.CondExpr,
)
_HARMLESS_MESSAGE = re.compile(
    r"(unsupported operand type\(s\) for .{1,4}: '\w+' and '\w+'"
    r"|'[<>=]{1,2}' not supported between instances of '\w+' and '\w+'"
    r"|can only concatenate \w+ \(not \"\w+\"\) to \w+"
    r"|'\w+' object is not (iterable|callable)"
    r"|division by zero|integer division or modulo by zero|integer modulo by zero|float division by zero"
    r"|(power|repetition|format|width or count|precision|list) too \w+"
    r"|\w+ is not data|not base64 of a UTF-8 text|argument of type '\w+' is not iterable)"
)


class TemplateError(NoetlError):
    """A template that cannot be read or rendered; names the template, never a value."""

    code = "template"
    http_status = 422


class Compiled:
    """A value whose templates are compiled: `render(scope)` gives the value; `constant` tells that no template is in it."""

    __slots__ = ("constant", "render")

    def __init__(self, render: Render, constant: bool) -> None:
        self.render = render
        self.constant = constant


class Templates:
    """The templates of a playbook. `envelopes` are the names under envelope lookup: its steps, and response, result, this, data."""

    __slots__ = ("_envelopes",)

    def __init__(self, envelopes: Collection[str] = ()) -> None:
        self._envelopes = frozenset(envelopes)

    def compile(self, value: Json) -> Compiled:
        """Compile all templates in a value once, for values that are rendered again and again; what has none is handed out uncopied."""
        match value:
            case str():
                return _native(value, self._envelopes) if _has_template(value) else _constant(value)
            case Mapping():
                return self._compile_mapping(value)
            case list() | tuple():
                return self._compile_list(value)
        return _constant(value)

    def render(self, value: Json, scope: Scope) -> Json:
        """Return a value with the templates in it rendered, at any depth; keys are left alone."""
        if type(value) is str:
            return _native(value, self._envelopes).render(scope) if "{{" in value or "{%" in value else value
        if isinstance(value, Mapping):
            return {key: self.render(item, scope) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.render(item, scope) for item in value]
        if isinstance(value, str):
            return self.render(str(value), scope)
        return value

    def render_text(self, text: str, scope: Scope) -> str:
        """Return text with its templates rendered; always text, whatever a lone expression gives."""
        if not _has_template(text):
            return text
        rendered: str = _text(text, self._envelopes).render(scope)
        return rendered

    def render_shell(self, text: str, scope: Scope) -> str:
        """Return a shell command in which every value is quoted for the place where it stands, unless marked `| raw`."""
        if not _has_template(text):
            return text
        rendered: str = _shell(text, self._envelopes).render(scope)
        return rendered

    def truth(self, when: Json, scope: Scope) -> bool:
        """Tell whether a condition holds; one that fails to render does not."""
        try:
            value = self.render(when, scope)
        except TemplateError:
            return False
        if isinstance(value, str):
            return value.strip().lower() in _TRUE
        return bool(value)

    def resolve(self, dotted: str, scope: Scope) -> Json:
        """Return what a dotted name such as `response.data` or `ctx.pages.0` leads to; raise TemplateError when it leads nowhere."""
        root, *path = dotted.strip().split(".")
        environment = program.sandbox()
        enveloped = 0 if root in self._envelopes else 1 if root == "steps" else None
        found = 0  # how many names have a value
        try:
            value = scope[root]
            for depth, part in enumerate(path):
                found = depth + 1 if not isinstance(value, Undefined) else found
                if depth == enveloped and not part.isdecimal():
                    value = environment.envelope(value, part)
                elif part.isdecimal() and isinstance(value, list):
                    value = value[int(part)]
                else:
                    value = value[part] if isinstance(value, Mapping) else environment.undefined()
        except (LookupError, SecurityError):
            value = environment.undefined()
        if isinstance(value, Undefined) or callable(value):
            instead = f"{{{{ {_excerpt(dotted)} | default(none) }}}}"
            raise TemplateError(_nowhere(dotted, found), f"Name a value that there is, or write a template: {instead}")
        return value

    def _compile_mapping(self, value: Mapping[str, Json]) -> Compiled:
        items = {key: self.compile(item) for key, item in value.items()}
        if all(item.constant for item in items.values()):
            return _constant(value)
        pairs = tuple((key, item.render) for key, item in items.items())
        return Compiled(lambda scope: {key: render(scope) for key, render in pairs}, constant=False)

    def _compile_list(self, value: list[Json] | tuple[Json, ...]) -> Compiled:
        items = [self.compile(item) for item in value]
        if all(item.constant for item in items):
            return _constant(value)
        renders = tuple(item.render for item in items)
        return Compiled(lambda scope: [render(scope) for render in renders], constant=False)


def is_template(value: Json) -> bool:
    """Tell whether there is a template anywhere in a value."""
    match value:
        case str():
            return _has_template(value)
        case Mapping():
            return any(is_template(item) for item in value.values())
        case list() | tuple():
            return any(is_template(item) for item in value)
    return False


def syntax_error(text: str) -> str | None:
    """Return what is wrong with a template's syntax, filters and tests; None when nothing is."""
    if not _has_template(text):
        return None
    try:
        program.parse(text)
    except Exception as exc:
        return _syntax_message(text, exc)
    return None


def _has_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def _constant(value: Json) -> Compiled:
    return Compiled(lambda scope: value, constant=True)


@lru_cache(maxsize=4096)
def _native(text: str, envelopes: frozenset[str]) -> Compiled:
    """Compile a text that is rendered natively."""
    try:
        tree = program.parse(text)
        expression = program.lone_expression(tree)
        if expression is None:
            return _joined(text, program.compile_text(tree, envelopes), "".join)
        looks_up = _only_looks_up(expression)
        return _lone(text, program.compile_native(nodes.Template([nodes.Output([expression], lineno=1)], lineno=1), envelopes), looks_up)
    except Exception as exc:
        return _broken(text, exc)


@lru_cache(maxsize=1024)
def _text(text: str, envelopes: frozenset[str]) -> Compiled:
    try:
        return _joined(text, program.compile_text(program.parse(text), envelopes), "".join)
    except Exception as exc:
        return _broken(text, exc)


@lru_cache(maxsize=256)
def _shell(text: str, envelopes: frozenset[str]) -> Compiled:
    try:
        return _joined(text, program.compile_shell(program.parse(text), envelopes), shell.join)
    except Exception as exc:
        return _broken(text, exc)


def _joined(text: str, template: Template, join: Callable[[Any], str]) -> Compiled:
    environment = program.sandbox()
    root = template.root_render_func

    def render(scope: Scope) -> str:
        try:
            return join(root(Names(environment, scope)))
        except NoetlError:
            raise
        except Exception as exc:
            raise _failure(text, template, exc) from None

    return Compiled(render, constant=False)


def _lone(text: str, template: Template, looks_up: bool) -> Compiled:
    environment = program.sandbox()
    root = template.root_render_func
    # What only looks values up hands them out as they are; what builds values may have put anything into them.
    untouched: frozenset[type] = _SCALARS | {dict, list} if looks_up else _SCALARS

    def render(scope: Scope) -> Json:
        try:
            for value in root(Names(environment, scope)):
                return value if type(value) in untouched else filters.json_value(value)
        except NoetlError:
            raise
        except Exception as exc:
            raise _failure(text, template, exc) from None
        return None

    return Compiled(render, constant=False)


def _only_looks_up(expression: nodes.Node) -> bool:
    if isinstance(expression, nodes.Filter):
        allowed = expression.name in ("default", "d", "first", "last") and not expression.dyn_args
    else:
        allowed = isinstance(expression, _LOOKUPS)
    return allowed and all(_only_looks_up(child) for child in expression.iter_child_nodes())


def _broken(text: str, exc: Exception) -> Compiled:
    message = _syntax_message(text, exc)
    if isinstance(exc, program.TooDeep | RecursionError | MemoryError):
        # Depends on the moment: not to be remembered.
        raise TemplateError(message, _COMPUTE) from None

    def render(scope: Scope) -> NoReturn:
        raise TemplateError(message, "Correct the template; text that is none goes between {% raw %} and {% endraw %}")

    return Compiled(render, constant=False)


def _syntax_message(text: str, exc: Exception) -> str:
    if isinstance(exc, TemplateSyntaxError):
        return f"{_quote(text, exc.lineno)}: {(exc.message or 'cannot be read').rstrip('.')}"
    if isinstance(exc, RecursionError | MemoryError):
        # Python, not Jinja2, found it too deep.
        return f"{_quote(text)}: too deeply nested"
    return f"{_quote(text)}: cannot be read ({type(exc).__name__})"


def _failure(text: str, template: Template, exc: Exception) -> TemplateError:
    match exc:
        case shell.Unquotable():
            what, hint = str(exc), "Pass the value in `env`, or mark it `| raw` if it is code"
        case SecurityError():
            what, hint = "something internal was reached for", "Templates reach keys of values, and methods of text, lists and dates"
        case UndefinedError():
            what, hint = _undefined(text, exc), "Check the spelling, or give it a value with `| default(...)`"
        case RecursionError() | MemoryError():
            what, hint = "too much nesting or memory", _COMPUTE
        case _:
            message = str(exc)
            what = f"{type(exc).__name__}{': ' + message if _HARMLESS_MESSAGE.fullmatch(message) else ''}"
            hint = "Check the types of its values: `| int`, `| float` and `| string` convert, `a ~ b` joins texts"
    return TemplateError(f"{_quote(text, _line(template, exc))}: {what}", hint)


def _undefined(text: str, exc: UndefinedError) -> str:
    """Say what is undefined: names that stand in the template may be told, computed ones may be values."""
    names = re.findall(r"'([^']*)'", str(exc))
    known = [name for name in names if name in text]
    return f"{known[-1]!r} is undefined" if known else "something undefined"


def _nowhere(dotted: str, found: int) -> str:
    """Say at which of its names, counted from 0, a dotted name ends."""
    names = [_excerpt(name) for name in dotted.strip().split(".")]
    end = f"{'.'.join(names[:found])!r} has no value {names[found]!r}" if found else f"there is no {names[0]!r} here"
    return f"{_excerpt(dotted)!r} leads nowhere: {end}"


def _line(template: Template, exc: Exception) -> int | None:
    line = None
    trace = exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _quote(text: str, line: int | None = None) -> str:
    lines = text.split("\n")
    if line is None or "\n" not in text.strip("\n"):
        return f"template `{_excerpt(text)}`"
    return f"line {line} of a template, `{_excerpt(lines[min(line, len(lines)) - 1])}`"


def _excerpt(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _EXCERPT else plain[: _EXCERPT - 1] + "…"
