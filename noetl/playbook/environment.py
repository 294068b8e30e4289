"""The sandbox in which templates run: what a name, an attribute, a subscript and a call may reach."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from datetime import date, time, timedelta, tzinfo
from typing import Any

from jinja2 import ChainableUndefined, Undefined
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Cycler, Namespace, missing

from noetl.playbook import filters
from noetl.playbook.problem import Problem
from noetl.playbook.shell import QUOTED, Value

ENVELOPE = "envelope lookup"
AGAIN = "second envelope lookup"
ROW = "row lookup"
METHOD = "method lookup"
SLICE = "slice of"
"""Names of the filters that rewritten templates call; the spaces keep them out of reach of a template's text."""

_WIDEST = 1_000_000
_READABLE = (str, int, float, list, tuple, LoopContext, Cycler, Namespace, date, time, timedelta, tzinfo)
_DICT_METHODS = frozenset({"items", "keys", "values", "get"})
_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_COMMAND = re.compile(r"(?:command|statement)_(\d+)")


class Missing(ChainableUndefined):
    """What a name that leads nowhere gives: empty as text, false as a condition, and so is everything below it."""

    __slots__ = ()


class Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja2 environment for which mappings are their keys, and which raises where Jinja2 would hand out an unsafe undefined."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        # Constants are not folded: `'x' * 10**9` must cost where a template is rendered, never where it is compiled.
        super().__init__(undefined=Missing, autoescape=False, keep_trailing_newline=True, optimized=False, cache_size=0)
        self.globals = {name: self.globals[name] for name in ("dict", "cycler", "joiner", "namespace")}
        self.globals["range"] = safe_range
        self.evaluation = EvalContext(self)
        filters.install(self)
        self.filters[ENVELOPE] = self.envelope
        self.filters[AGAIN] = self.again
        self.filters[ROW] = self.row
        self.filters[METHOD] = self.method
        self.filters[SLICE] = self.slice_of
        self.filters[QUOTED] = Value
        self.filters["attr"] = self.getattr

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a mapping's key, else a harmless attribute, else undefined; raise SecurityError for anything internal."""
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                pass
        elif isinstance(obj, Mapping):
            return self.getitem(obj, attribute)
        return self._attribute(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item of a mapping, list or text, else an attribute of anything but a mapping, else undefined."""
        if isinstance(obj, Mapping | list | tuple | str | range):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        if isinstance(argument, str) and not (isinstance(obj, Mapping) and not argument.startswith("_")):
            return self._attribute(obj, argument)
        return obj if isinstance(obj, Undefined) else self.undefined(obj=obj, name=argument)

    def _attribute(self, obj: Any, name: str) -> Any:
        if name.startswith("_"):
            if name.startswith("__") or (not isinstance(obj, Undefined | Mapping) and hasattr(obj, name)):
                raise SecurityError(name)
            return obj if isinstance(obj, Undefined) else self.undefined(obj=obj, name=name)
        if isinstance(obj, Undefined):
            return obj
        if obj is None or isinstance(obj, Mapping):
            return self.undefined(obj=obj, name=name)
        if not isinstance(obj, _READABLE):
            raise SecurityError(name)
        value = getattr(obj, name, missing)
        if value is missing:
            return self.undefined(obj=obj, name=name)
        formatter = self.wrap_str_format(value)
        if formatter is not None:
            return formatter
        if not self.is_safe_attribute(obj, name, value):
            raise SecurityError(name)
        return value

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Refuse at once what Jinja2 refuses only when it is used."""
        raise SecurityError(attribute)

    def wrap_str_format(self, value: Any) -> Any:
        """Return a text's `format` in its sandboxed form, if its widths are bounded."""
        formatter = super().wrap_str_format(value)
        if formatter is not None:
            filters.refuse_wide_format(value.__self__)
        return formatter

    def envelope(self, value: Any, key: str) -> Any:
        """Look a key up in a result: its own, else one of its `data`; `data` and `result` that it lacks are the result itself."""
        if isinstance(value, Mapping):
            try:
                return value[key]
            except KeyError:
                pass
            data = value.get("data")
            if isinstance(data, Mapping):
                try:
                    return data[key]
                except KeyError:
                    pass
            if key in ("data", "result"):
                return value["results"] if is_aggregate(value) else value
        elif key in ("data", "result"):
            return value
        return self._attribute(value, key)

    def again(self, value: Any, key: str) -> Any:
        """Look `data` or `result` up in what the one or the other has led to: a list is what both mean."""
        return value if isinstance(value, list) else self.getattr(value, key)

    def row(self, value: Any, index: int) -> Any:
        """Look an index up in a result: of an SQL result, among the rows of the last statement that returned any."""
        rows = last_rows(value) if isinstance(value, Mapping) else None
        return self.getitem(value if rows is None else rows, index)

    def method(self, obj: Any, name: str) -> Any:
        """Look up what is about to be called: a mapping's keys are data, so only its methods can be meant."""
        if not isinstance(obj, Mapping):
            return self.getattr(obj, name)
        found = obj.get(name)
        if callable(found):
            return found
        if name in _DICT_METHODS:
            return getattr(obj, name)
        return self._attribute(str(obj) if isinstance(obj, Problem) else obj, name)

    def slice_of(self, obj: Any, start: Any, stop: Any, step: Any) -> Any:
        """Return a slice of a list or text; of undefined, undefined."""
        if isinstance(obj, Undefined):
            return obj
        return obj[slice(start, stop, step)]

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function; paddings of text are bounded."""
        if isinstance(__obj, types.BuiltinMethodType) and __obj.__name__ in _PADDING:
            filters.refuse_wide((*args, *kwargs.values()))
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Carry out `*`, `**` and `%`, refusing results that are out of all proportion."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _WIDEST:
            raise OverflowError("power too large")
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(times, int) and len(sequence) * times > _WIDEST:
                    raise OverflowError("repetition too long")
        if operator == "%" and isinstance(left, str):
            filters.refuse_wide_format(left)
        return super().call_binop(context, operator, left, right)


class Names(Context):
    """The names of one rendering: those that the template sets, the scope, the globals."""

    def __init__(self, environment: Sandbox, scope: Mapping[str, Any]) -> None:
        # Not Context.__init__: it copies the whole scope, which is most of what a lookup costs.
        self.parent = scope  # type: ignore[assignment]
        self.vars = {}
        self.environment = environment
        self.eval_ctx = environment.evaluation
        self.exported_vars = set()
        self.name = None
        self.blocks = {}

    def resolve_or_missing(self, key: str) -> Any:
        """Return the value of a name, or Jinja2's marker for none."""
        if self.vars and key in self.vars:
            return self.vars[key]
        try:
            return self.parent[key]
        except KeyError:
            return self.environment.globals.get(key, missing)


def is_aggregate(value: Mapping[str, Any]) -> bool:
    """Tell whether a result is that of a loop."""
    return isinstance(value.get("results"), list) and isinstance(value.get("stats"), Mapping)


def last_rows(value: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of the last statement of an SQL result that returned rows; None when it is no such result."""
    found: tuple[int, list[Any]] | None = None
    for key, part in value.items():
        match = _COMMAND.fullmatch(key) if isinstance(key, str) else None
        rows = part.get("rows") if match and isinstance(part, Mapping) else None
        if match and isinstance(rows, list) and (found is None or int(match[1]) > found[0]):
            found = int(match[1]), rows
    return found[1] if found else None
