"""What python code takes and reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.playbook.python_code import Parameters, free_names, main_parameters


@pytest.mark.parametrize(
    ("code", "parameters"),
    [
        ("def main(): pass", Parameters((), ())),
        ("def main(a, b=1): pass", Parameters(("a", "b"), ("a",))),
        ("async def main(a, *, k, d=2): pass", Parameters(("a", "k", "d"), ("a", "k"))),
        ("def main(a, /, b): pass", Parameters(("a", "b"), ("a", "b"))),
        ("def main(context, **kw): pass", Parameters(("context",), ("context",), keywords=True, takes_context=True)),
        ("def main(*args): pass", Parameters((), (), varargs=True)),
        ("def main(a): pass\ndef main(b): pass", Parameters(("b",), ("b",))),
        ("if True:\n    def main(a): pass", Parameters(("a",), ("a",))),
        ("try:\n    import x\nexcept ImportError:\n    def main(a): pass", Parameters(("a",), ("a",))),
        ("x = {{ x }}\ndef main(a):\n    return {{ y }}", Parameters(("a",), ("a",))),
        ("{% if x %}\nx = 1\n{% endif %}\ndef main(a): pass", Parameters(("a",), ("a",))),
        ("x = [{{ a.b }}, {{ c | tojson }}]\ndef main(a): pass", Parameters(("a",), ("a",))),
        ("def other(a): pass", None),
        ("class A:\n    def main(self): pass", None),
        ("def main(:", None),
        ("x = '\0'", None),
        ("", None),
    ],
)
def test_main_parameters(code: str, parameters: Parameters | None) -> None:
    assert main_parameters(code) == parameters


@pytest.mark.parametrize(
    ("code", "free"),
    [
        ("result = a + b", {"a", "b"}),
        ("x = 1\nresult = x", set()),
        ("x = x + 1", {"x"}),
        ("x += 1", {"x"}),
        ("import os\nfrom a.b import c as d\nprint(os, d, c)", {"c"}),
        ("for i in items:\n    print(i)", {"items"}),
        ("r = [i * k for i in items if i]", {"items", "k"}),
        ("r = {k: v for k, v in m.items()}\nprint(k)", {"m", "k"}),
        ("def f(y):\n    z = 1\n    return x + y + z + later\nlater = 1", {"x"}),
        ("def f(a=b): pass", {"b"}),
        ("f = lambda q: q + w", {"w"}),
        ("class A(B):\n    c = d", {"B", "d"}),
        ("with open(p) as f:\n    print(f)", {"p"}),
        ("try:\n    a\nexcept E as e:\n    print(e)", {"a", "E"}),
        ("if (n := g):\n    print(n)", {"g"}),
        ("match x:\n    case {'a': y}:\n        print(y)", {"x"}),
        ("x: int = y", {"y"}),
        ("result = {{ x }} + a", {"x", "a"}),
        ("print(len(data))", {"data"}),
        ("def (", set()),
    ],
)
def test_free_names(code: str, free: set[str]) -> None:
    assert free_names(code) == free


WORDS = "def main ( ) : \n a = , * lambda x [ ] for in {{ }} class if"


@given(st.text() | st.lists(st.sampled_from(WORDS.split(" "))).map(" ".join))
def test_any_text_is_survived(code: str) -> None:
    main_parameters(code)
    free_names(code)
