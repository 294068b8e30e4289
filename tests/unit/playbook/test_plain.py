"""Which templates may be rendered where nothing limits them."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.playbook.plain import is_plain


@pytest.mark.parametrize(
    "value",
    [
        "text",
        5,
        None,
        {"a": ["{{ x }}", 1]},
        "{{ a.b['c'][0].d }}",
        "{{ event.name == 'call.done' and response is defined and response.status in [200, 201] }}",
        "{{ not a or b }}",
        "{{ (a.page | int) + 1 - 2 }}",
        "{{ a // 2 }}{{ a / 2 }}",
        "{{ a ~ '-' ~ b }}",
        "{{ 'x' if a else {'k': [1, (2, 3)]} }}",
        "{% if a %}b{% elif c %}d{% else %}e{% endif %}",
        "{{ a | default('x') | lower | upper | trim | title | capitalize | string }}",
        "{{ a | length }}{{ a | count }}{{ a | first }}{{ a | last }}{{ a | round(2) }}{{ a | abs }}{{ a | tojson }}{{ a | b64encode }}",
        "{{ a[1:2] }}",
        "{{ -a }}",
        "{{ a is none }}",
    ],
)
def test_plain(value: Any) -> None:
    assert is_plain(value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in a %}{{ i }}{% endfor %}",
        "{% set a = 1 %}{{ a }}",
        "{% macro m() %}{% endmacro %}",
        "{% call m() %}{% endcall %}",
        "{% filter upper %}{% endfilter %}",
        "{% with a = 1 %}{% endwith %}",
        "{{ now() }}",
        "{{ a.items() }}",
        "{{ range(3) }}",
        "{{ a * 2 }}",
        "{{ a ** 2 }}",
        "{{ a % 2 }}",
        "{{ a | replace('a', 'b') }}",
        "{{ a | join(',') }}",
        "{{ a | format(1) }}",
        "{{ a | map('upper') }}",
        "{{ a | sort }}",
        "{{ a | center(9) }}",
        "{{ broken",
        "{{ a }}" * 300,
        "{{ a }}" + "x" * 70_000,
    ],
)
def test_not_plain(template: str) -> None:
    assert not is_plain(template)
    assert not is_plain({"a": ["{{ x }}", template]})
