"""What templates must not reach, and what must not grow without bound."""

from __future__ import annotations

import time
from typing import Any

import pytest

from noetl.playbook.expression import Problem, TemplateError, Templates

TEMPLATES = Templates({"response"})
SCOPE: dict[str, Any] = {
    "x": {"a": [1], "s": "text"},
    "response": {"data": {"a": 1}},
    "now": lambda: 1,
    "error": Problem(message="m"),
    "cls": "__class__",
    "names": ["__class__"],
}


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''['__cla' ~ 'ss__'] }}",
        "{{ ''[cls] }}",
        "{{ x.s[cls].__mro__ }}",
        "{{ '' | attr('__class__') }}",
        "{{ '' | attr(cls) | attr('__mro__') }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ [''] | map('attr', '__class__') | list }}",
        "{{ [''] | map(attribute=cls) | first }}",
        "{{ ['a'] | groupby('__class__') }}",
        "{{ ['a'] | sort(attribute='__class__') }}",
        "{{ ['a'] | sum(attribute='__class__.__mro__') }}",
        "{{ ['a'] | selectattr('__class__') | list }}",
        "{{ ['a'] | unique(attribute='__class__') | list }}",
        "{{ ['a'] | max(attribute='__class__') }}",
        "{{ x.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ x.a['__class__'] }}",
        "{{ x.a.__len__() }}",
        "{{ x.__getitem__('a') }}",
        "{{ x.items().__class__ }}",
        "{{ x.items()[cls] }}",
        "{{ response.__class__ }}",
        "{{ response['__class__'] }}",
        "{{ response.data['__class__'] }}",
        "{{ error['__class__'] }}",
        "{{ error['_x'].__class__ }}",
        "{{ absent['__class__'] }}",
        "{{ absent.__class__ }}",
        "{{ now['__globals__'] }}",
        "{{ now | attr('__globals__') }}",
        "{{ now.func_globals }}",
        "{{ now['__code__'] }}",
        "{{ range | attr('__self__') }}",
        "{{ cycler | attr('__init__') }}",
        "{{ cycler.mro }}",
        "{{ dict.mro() }}",
        "{{ dict | attr('fromkeys') }}",
        "{{ joiner | attr('__init__') | attr('__globals__') }}",
        "{{ namespace | attr('__init__') }}",
        "{{ self._TemplateReference__context }}",
        "{{ self.__init__ }}",
        "{{ self | attr('_TemplateReference__context') }}",
        "{{ self['__class__'] }}",
        "{{ loop._iterable }}{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
        "{% for i in [1] %}{{ loop['_iterator'] }}{% endfor %}",
        "{% macro m() %}{% endmacro %}{{ m._func }}",
        "{% macro m() %}{% endmacro %}{{ m | attr('_environment') }}",
        "{% macro m() %}{{ caller.__class__ }}{% endmacro %}{% call m() %}{% endcall %}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{0[__class__]}'.format(x) }}",
        "{{ '{x.__class__}'.format_map({'x': 1}) }}",
        "{{ '{0.__class__}' | attr('format') }}{{ ('{0.__class__}' | attr('format'))(1) }}",
        "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
        "{{ ['{0.__class__}'] | map('format', 1) | map(attribute='__class__') | list }}",
        "{{ x.pop('a') }}",
        "{{ x.update({'b': 1}) }}",
        "{{ x.clear() }}",
        "{{ x.setdefault('b', 1) }}",
        "{{ x.a.append(2) }}",
        "{{ x.a.pop() }}",
        "{{ x.a.extend([1]) }}",
        "{{ x.a.sort() }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}{{ os }}",
        "{% extends '/etc/passwd' %}",
        "{% set x.a = 1 %}",
        "{% set x.y = 1 %}",
        "{{ lipsum() }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ get_flashed_messages.__globals__ }}",
        "{{ config.__class__.from_envvar('x') }}",
        "{{ 1.0.as_integer_ratio.__self__ }}",
        "{{ (1).__class__ }}",
        "{{ none.__class__ }}",
        "{{ none | attr('__class__') }}",
        "{{ ((i for i in [1])) }}",
        "{{ x | envelope lookup('a') }}",
        "{{ ('' | e).__class__ }}",
        "{{ ('' | e) | attr('__html__') | attr('__self__') }}",
        "{{ ('%s' | safe) | attr('format') | attr('__globals__') }}",
        "{{ dict['a'] | attr('__origin__') }}",
    ],
)
def test_escapes_are_refused(template: str) -> None:
    before = repr(SCOPE["x"])
    with pytest.raises(TemplateError):
        TEMPLATES.render(template, SCOPE)
    with pytest.raises(TemplateError):
        TEMPLATES.render_text(f"-{template}", SCOPE)
    assert TEMPLATES.truth(template, SCOPE) is False
    assert repr(SCOPE["x"]) == before


def test_keys_that_look_internal_are_keys() -> None:
    scope = {"x": {"_id": 1, "__typename": "T", "__class__": "c"}, "response": {"__typename": "R", "_id": 2}}
    assert TEMPLATES.render("{{ x._id }}{{ x.__typename }}{{ x['__class__'] }}", scope) == "1Tc"
    assert TEMPLATES.render("{{ response.__typename }}{{ response._id }}", scope) == "R2"
    assert TEMPLATES.render("{{ x._absent }}", scope) is None


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ 1000000000 * 'a' }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 999999999 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ range(100000000) | list }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'.center(width=1000000000) }}",
        "{{ '1'.zfill(1000000000) }}",
        "{{ '\t'.expandtabs(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%1000000000d' is odd }}",
        "{{ '%1000000000d' is even }}",
        "{{ '%1000000000d' is divisibleby(3) }}",
        "{{ 5 | round(-999999999) }}",
        "{{ 5.5 | round(999999999, 'ceil') }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ ('{:1000000000}').format_map({}) }}",
    ],
)
def test_bombs_are_refused_quickly(template: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateError):
        TEMPLATES.render(template, SCOPE)
    assert time.monotonic() - started < 1


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    for text in (
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "a." * 20000 + "a }}",
        "{{ " + "1+" * 20000 + "1 }}",
        "{% if a %}" * 500,
    ):
        with pytest.raises(TemplateError):
            TEMPLATES.render(text, {})
