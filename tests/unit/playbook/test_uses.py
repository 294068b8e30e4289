"""Names that templates read."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.playbook.uses import names


@pytest.mark.parametrize(
    ("value", "used"),
    [
        ("text", set()),
        (5, set()),
        ("{{ workload.a }}", {("workload", "a")}),
        ("{{ workload.a.b.c }}", {("workload", "a")}),
        ("{{ workload['a'].b }}", {("workload", "a")}),
        ("{{ workload.a }}{{ workload.b }}", {("workload", "a"), ("workload", "b")}),
        ("{{ workload }}", {("workload", None)}),
        ("{{ workload.a }}{{ workload }}", {("workload", None)}),
        ({"x": "{{ workload.a }}", "y": ["{{ workload }}"]}, {("workload", None)}),
        ("{{ workload[key] }}", {("workload", None), ("key", None)}),
        ("{{ xs[0].y }}", {("xs", None)}),
        ("{{ workload.items() }}", {("workload", None)}),
        ("{{ workload.a.items() }}", {("workload", "a")}),
        ("{{ workload.get('a', other.b) }}", {("workload", None), ("other", "b")}),
        ("{{ workload | tojson }}", {("workload", None)}),
        ("{{ workload.a | default(vars.b) }}", {("workload", "a"), ("vars", "b")}),
        ("{{ workload.a is defined }}", {("workload", "a")}),
        ("{{ steps['a/b'].x }}", {("steps", "a/b")}),
        ("{{ now() }}", {("now", None)}),
        ("{{ range(n) }}", {("n", None), ("range", None)}),
        ("{% for i in xs %}{{ i.a }}{{ loop.index }}{{ y.b }}{% endfor %}", {("xs", None), ("y", "b")}),
        ("{% for k, v in m.items() %}{{ k }}{{ v }}{% endfor %}", {("m", None)}),
        ("{% for i in xs %}{% endfor %}{{ i.a }}{{ loop.index }}", {("xs", None), ("i", "a"), ("loop", "index")}),
        ("{% set a = b.c %}{{ a.d }}", {("b", "c")}),
        ("{% set a = 1 %}{{ a }}{{ c }}", {("c", None)}),
        ("{% macro m(a) %}{{ a }}{{ z }}{% endmacro %}{{ m(1) }}", {("z", None)}),
        ("{% if a.x %}{{ b }}{% else %}{{ c.y }}{% endif %}", {("a", "x"), ("b", None), ("c", "y")}),
        ("{{ x | raw }}", {("x", None)}),
        ("{{ broken", set()),
        ("{{ 'a' * 10 ** 9 }}{{ x }}", {("x", None)}),
        ("{{ a if b.c else d }}", {("a", None), ("b", "c"), ("d", None)}),
        ("{{ a['b']['c'] ~ a['d'] }}", {("a", "b"), ("a", "d")}),
        (({"k": "{{ a.b }}"}, "{{ c }}"), {("a", "b"), ("c", None)}),
        ({"{{ key }}": 1}, set()),
        ({"headers": {"X-Key": "{{ keychain.api.key }}"}}, {("keychain", "api")}),
        (["INSERT INTO t VALUES ({{ result.n }}, :name)", {"a": "{{ response.data.b }}"}], {("result", "n"), ("response", "data")}),
    ],
)
def test_names(value: Any, used: set[tuple[str, str | None]]) -> None:
    assert names(value) == used
