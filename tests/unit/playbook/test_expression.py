"""Templates: what they give, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.errors import Unavailable
from noetl.playbook.expression import Problem, TemplateError, Templates, is_template, syntax_error

TEMPLATES = Templates({"response", "result", "this", "data", "fetch", "each"})

SCOPE: dict[str, Any] = {
    "workload": {"items": [3, 1, 2], "values": "v", "n": 7, "name": "ada", "flag": True, "nothing": None, "deep": {"a": {"b": [10, 20]}}},
    "plain": {"a": 1, "b": 2},
    "error": Problem(message="HTTP 503: try later", type="http_status", status=503),
    "now": lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "token": lambda credential: f"token of {credential}",
    "event": {"name": "call.done"},
}


def render(template: Any, **names: Any) -> Any:
    return TEMPLATES.render(template, {**SCOPE, **names})


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ workload.n }}", 7),
        ("  {{ workload.n }}\n", 7),
        ("{{- workload.n -}}", 7),
        ("{{ workload.flag }}", True),
        ("{{ workload.nothing }}", None),
        ("{{ workload.deep }}", {"a": {"b": [10, 20]}}),
        ("{{ workload.deep.a.b[1] }}", 20),
        ("{{ workload.deep.a.b.1 }}", 20),
        ("{{ workload['deep']['a'].b }}", [10, 20]),
        ("{{ 'abc' }}", "abc"),
        ("{{ '12' }}", "12"),
        ("{{ 'true' }}", "true"),
        ("{{ workload.n > 5 }}", True),
        ("{{ workload.n + 0.5 }}", 7.5),
        ("{{ [1, workload.n, absent] }}", [1, 7, None]),
        ("{{ {'k': absent.x} }}", {"k": None}),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ workload['items'] | map('string') }}", ["3", "1", "2"]),
        ("{{ plain.items() }}", [["a", 1], ["b", 2]]),
        ("{{ 'yes' if workload.flag }}", "yes"),
        ("{{ 'yes' if workload.nothing }}", None),
        ("{{ workload['items'][1:] }}", [1, 2]),
        ("{{ absent[1:] }}", None),
        ("{{ '<&>' | e }}", "&lt;&amp;&gt;"),
        ("{{ now() }}", "2026-01-02T03:04:05+00:00"),
        ("{{ now().year }}", 2026),
        ("{{ token('pg') }}", "token of pg"),
        ("{{ workload.n | float }}", 7.0),
        ("{{ 3.14159 | round(2) }}", 3.14),
        ("{{ 7 // 2 }}", 3),
        ("{{ 7 % 4 }}", 3),
        ("{{ 2 ** 10 }}", 1024),
        ("{{ 'ab' * 3 }}", "ababab"),
        ("{{ 7 is odd }}", True),
        ("{{ 'a-b'.split('-') }}", ["a", "b"]),
        ("{{ '{}/{}'.format(1, 'x') }}", "1/x"),
        ("{{ '%s %5.2f' % ('x', 2) }}", "x  2.00"),
    ],
)
def test_a_lone_expression_gives_its_value(template: str, value: Any) -> None:
    rendered = render(template)
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("n is {{ workload.n }}", "n is 7"),
        ("{{ workload.n }}{{ workload.n }}", "77"),
        ("[{{ absent }}]", "[]"),
        ("[{{ absent.deep.er }}]", "[]"),
        ("[{{ workload.nothing }}]", "[None]"),
        ("x = {{ workload.deep }}", "x = {'a': {'b': [10, 20]}}"),
        ("{% if workload.flag %}yes{% else %}no{% endif %}", "yes"),
        ("{% for i in workload['items'] %}{{ loop.index }}:{{ i }} {% endfor %}", "1:3 2:1 3:2 "),
        ("{% for k, v in plain.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"),
        ("{% set x = 3 %}{{ x + workload.n }}", "10"),
        ("{% set ns = namespace(t=0) %}{% for i in [1, 2] %}{% set ns.t = ns.t + i %}{% endfor %}{{ ns.t }}", "3"),
        ("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(1) }}{{ m('x') }}", "<1><x>"),
        ("{% set b %}a {{ workload.n }}{% endset %}{{ b | upper }}", "A 7"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("line\n{{ workload.n }}\n", "line\n7\n"),
    ],
)
def test_anything_else_gives_text(template: str, text: str) -> None:
    assert render(template) == text


def test_values_are_rendered_at_any_depth_and_keys_are_not() -> None:
    value = {"{{ k }}": ["{{ workload.n }}", {"x": "a{{ workload.n }}"}], "n": 1, "t": ("{{ workload.flag }}",), "none": None}
    assert render(value) == {"{{ k }}": [7, {"x": "a7"}], "n": 1, "t": [True], "none": None}
    assert render(MappingProxyType({"a": "{{ workload.n }}"})) == {"a": 7}


@pytest.mark.parametrize("text", ["", "plain", "{ not }", "{# no comment #}", "100%", "}} %}", "a { b"])
def test_text_without_a_template_is_left_alone(text: str) -> None:
    assert render(text) is text
    assert TEMPLATES.render_text(text, SCOPE) is text


@pytest.mark.parametrize(
    "template",
    [
        "{{ absent }}",
        "{{ absent.a.b.c }}",
        "{{ workload.absent['x'].y }}",
        "{{ workload.nothing.x }}",
        "{{ workload.n.x }}",
        "{{ absent[0].x }}",
    ],
)
def test_undefined_is_none_alone_and_empty_in_text(template: str) -> None:
    assert render(template) is None
    assert render(f"<{template}>") == "<>"
    assert TEMPLATES.render_text(template, SCOPE) == ""
    assert render(template.replace(" }}", " | default('d') }}")) == "d"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ workload.items }}", [3, 1, 2]),
        ("{{ workload.values }}", "v"),
        ("{{ workload['items'] | length }}", 3),
        ("{{ plain.items }}", None),
        ("{{ plain.keys | default('none') }}", "none"),
        ("{{ plain.keys() | sort | join(',') }}", "a,b"),
        ("{{ plain.get('a') }}", 1),
        ("{{ plain.get('z', 5) }}", 5),
        ("{{ workload.values() | length }}", 7),
        ("{{ workload.items() | length }}", 7),
    ],
)
def test_keys_come_before_methods(template: str, value: Any) -> None:
    assert render(template) == value


HTTP = {"status": 200, "status_code": 200, "headers": {"content-type": "json"}, "data": {"x": 1, "paging": {"more": True}, "data": [1]}}
SQL = {"command_0": {"rows": [{"id": 1}]}, "command_1": {"rows": [{"id": 2}, {"id": 3}]}, "command_2": {"status": "success"}}
AGGREGATE = {"results": [1, None, 3], "stats": {"total": 3, "success": 2, "failed": 1}}


@pytest.mark.parametrize(
    ("template", "response", "value"),
    [
        ("{{ response.status }}", HTTP, 200),
        ("{{ response.x }}", HTTP, 1),
        ("{{ response.data.x }}", HTTP, 1),
        ("{{ response['paging'].more }}", HTTP, True),
        ("{{ response.data.paging.more }}", HTTP, True),
        ("{{ response.data.data }}", HTTP, [1]),
        ("{{ response.headers['content-type'] }}", HTTP, "json"),
        ("{{ response.result.x }}", HTTP, None),
        ("{{ response.result.status }}", HTTP, 200),
        ("{{ response.data.x }}", {"x": 5}, 5),
        ("{{ response.result.x }}", {"x": 5}, 5),
        ("{{ response.data }}", [1, 2], [1, 2]),
        ("{{ response.result | length }}", [1, 2], 2),
        ("{{ response.data }}", "text", "text"),
        ("{{ response.data }}", None, None),
        ("{{ response.data }}", {"data": None, "x": 1}, None),
        ("{{ response.data.command_1.rows[0].id }}", SQL, 2),
        ("{{ response.command_0.rows }}", SQL, [{"id": 1}]),
        ("{{ response[0].id }}", SQL, 2),
        ("{{ response[-1].id }}", SQL, 3),
        ("{{ response.data[1].id }}", SQL, 3),
        ("{{ response.result[0] }}", SQL, {"id": 2}),
        ("{{ response[7].id }}", SQL, None),
        ("{{ response[0] }}", [5], 5),
        ("{{ response[0] }}", {"a": 1}, None),
        ("{{ response.data }}", AGGREGATE, [1, None, 3]),
        ("{{ response.result[2] }}", AGGREGATE, 3),
        ("{{ response.stats.total }}", AGGREGATE, 3),
        ("{{ response.results | length }}", AGGREGATE, 3),
        ("{{ response.absent.x | default('d') }}", HTTP, "d"),
        ("{{ response._pagination.pages }}", {"_pagination": {"pages": 4}}, 4),
        ("{{ response._absent.pages }}", HTTP, None),
        ("{% for k, v in response.items() %}{{ k }}{% endfor %}", {"a": 1}, "a"),
        ("{{ response.items | length }}", {"data": {"items": [1, 2]}}, 2),
    ],
)
def test_envelope_lookup(template: str, response: Any, value: Any) -> None:
    assert render(template, response=response) == value
    assert render(template.replace("response", "fetch"), fetch=response) == value, "a step's name"


def test_other_names_are_no_envelopes() -> None:
    assert render("{{ other.x }}", other=HTTP) is None
    assert render("{{ other.data.x }}", other=HTTP) == 1
    assert render("{{ other.data }}", other={"x": 1}) is None


def test_envelope_lookup_below_steps() -> None:
    steps = {"a/b": HTTP, "c": HTTP}
    assert render("{{ steps['a/b'].x }}", steps=steps) == 1
    assert render("{{ steps.c.x }}", steps=steps) == 1
    assert render("{{ steps.absent.x }}", steps=steps) is None


def test_an_undefined_envelope_stays_undefined() -> None:
    assert render("{{ response is defined }}") is False
    assert render("{{ response.data is defined }}") is False
    assert render("{{ response.data.x | default(3) }}") == 3


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ error.status }}", 503),
        ("{{ error.status in [500, 503] }}", True),
        ("x{{ error }}", "xHTTP 503: try later"),
        ("{{ 'later' in error }}", True),
        ("{{ 'status' in error }}", True),
        ("{{ 'nope' in error }}", False),
        ("{{ error | upper }}", "HTTP 503: TRY LATER"),
        ("{{ error | truncate(9, true, '', 0) }}", "HTTP 503:"),
        ("{{ error | replace('later', 'now') }}", "HTTP 503: try now"),
        ("{{ error ~ '!' }}", "HTTP 503: try later!"),
        ("{{ error.startswith('HTTP') }}", True),
        ("{{ error[:4] }}", "HTTP"),
        ("{{ error is defined }}", True),
        ("{{ error.absent }}", None),
        ("{{ error.lower }}", None),
        ("{{ '{}'.format(error) }}", "HTTP 503: try later"),
        ("{{ error | tojson }}", '{"message": "HTTP 503: try later", "type": "http_status", "status": 503}'),
    ],
)
def test_an_error_is_a_mapping_that_prints_as_its_message(template: str, value: Any) -> None:
    assert render(template) == value


def test_a_lone_error_is_the_mapping() -> None:
    value = render("{{ error }}")
    assert value == dict(SCOPE["error"])
    assert str(value) == "HTTP 503: try later"
    assert render("{{ [error] }}") == [dict(SCOPE["error"])]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": "<x> & 'y'"}, '{"b": 1, "a": "<x> & \'y\'"}'),
        ("é\n", '"é\\n"'),
        ([None, True, 1.5], "[null, true, 1.5]"),
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'),
        ({"d": Decimal("1.50")}, '{"d": 1.5}'),
        (b"abc", '"abc"'),
        (b"\xff\x00", '"/wA="'),
        (float("nan"), "null"),
        ([float("inf"), 1], "[null, 1]"),
        ({1: {2, }}, '{"1": [2]}'),
    ],
)  # fmt: skip
def test_tojson(value: Any, text: str) -> None:
    assert render("{{ x | tojson }}", x=value) == text
    assert render("-{{ x | tojson }}", x=value) == f"-{text}"


def test_tojson_of_undefined_and_indented() -> None:
    assert render("{{ absent.x | tojson }}") == "null"
    assert render("{{ {'a': absent} | tojson }}") == '{"a": null}'
    assert json.loads(render("{{ plain | tojson(indent=2) }}")) == SCOPE["plain"]
    with pytest.raises(TemplateError):
        render("{{ now | tojson }}")


def test_base64() -> None:
    assert render("{{ 'abc' | b64encode }}") == "YWJj"
    assert render("{{ 'YWJj' | b64decode }}") == "abc"
    with pytest.raises(TemplateError, match="not base64"):
        render("{{ '/wA=' | b64decode }}")


@pytest.mark.parametrize(
    ("when", "truth"),
    [
        (True, True),
        (False, False),
        (None, False),
        (1, True),
        (0, False),
        ([], False),
        ({"a": 1}, True),
        ("true", True),
        ("YES", True),
        (" 1 ", True),
        ("no", False),
        ("", False),
        ("anything", False),
        ("{{ workload.flag }}", True),
        ("{{ workload.nothing }}", False),
        ("{{ workload.name }}", False),
        ("{{ 'yes' }}", True),
        ("{{ plain }}", True),
        ("{{ absent }}", False),
        ("{{ absent.a.b > 3 }}", False),
        ("{{ workload.name > 3 }}", False),
        ("{{ workload.n / 0 }}", False),
        ("{{ broken", False),
        ("{{ event.name == 'call.done' and workload.n > 5 }}", True),
        ("{% if workload.flag %}true{% endif %}", True),
        ("{{ ''.__class__ }}", False),
    ],
)
def test_truth(when: Any, truth: bool) -> None:
    assert TEMPLATES.truth(when, SCOPE) is truth


def test_render_text_is_always_text() -> None:
    assert TEMPLATES.render_text("{{ workload.n }}", SCOPE) == "7"
    assert TEMPLATES.render_text("x = {{ workload.nothing }}", SCOPE) == "x = None"
    assert TEMPLATES.render_text(" {{ workload.n }}\n", SCOPE) == " 7\n"


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("response", HTTP),
        ("response.data", HTTP["data"]),
        ("response.x", 1),
        ("response.paging.more", True),
        ("response.data.data.0", 1),
        ("ctx.pages", [1, 2]),
        ("ctx.pages.1", 2),
        ("ctx.nothing", None),
        ("steps.a.x", 1),
        (" response.data ", HTTP["data"]),
        ("workload.items", [3, 1, 2]),
        ("response._x", 9),
    ],
)
def test_resolve(dotted: str, value: Any) -> None:
    scope = {**SCOPE, "response": HTTP | {"_x": 9}, "ctx": {"pages": [1, 2], "nothing": None}, "steps": {"a": HTTP}}
    assert TEMPLATES.resolve(dotted, scope) == (scope["response"] if dotted == "response" else value)


@pytest.mark.parametrize(
    "dotted",
    [
        "",
        "absent",
        "response.absent",
        "ctx",
        "workload.n.real",
        "workload.name.upper",
        "plain.items",
        "now",
        "plain.__class__",
        "workload.items.9",
    ],
)
def test_resolve_that_leads_nowhere(dotted: str) -> None:
    with pytest.raises(TemplateError, match="leads nowhere"):
        TEMPLATES.resolve(dotted, {**SCOPE, "response": HTTP})


@pytest.mark.parametrize(
    ("dotted", "end"),
    [
        ("absent.a", "there is no 'absent' here"),
        ("workload.absent", "'workload' has no value 'absent'"),
        ("workload.absent.a", "'workload' has no value 'absent'"),
        ("workload.n.real", "'workload.n' has no value 'real'"),
        ("workload.items.9", "'workload.items' has no value '9'"),
    ],
)
def test_what_leads_nowhere_says_where_it_ends(dotted: str, end: str) -> None:
    with pytest.raises(TemplateError) as caught:
        TEMPLATES.resolve(dotted, SCOPE)
    assert caught.value.message == f"{dotted!r} leads nowhere: {end}"
    assert caught.value.hint == f"Name a value that there is, or write a template: {{{{ {dotted} | default(none) }}}}"


def test_compiled_values_render_like_others() -> None:
    value = {"a": "{{ workload.n }}", "b": ["x", "{{ absent }}"], "c": {"d": "-{{ workload.name }}"}, "e": 5}
    compiled = TEMPLATES.compile(value)
    assert not compiled.constant
    assert compiled.render(SCOPE) == render(value) == {"a": 7, "b": ["x", None], "c": {"d": "-ada"}, "e": 5}


@pytest.mark.parametrize("value", [5, None, "text", {"a": [1, "x"]}, ["x"], {}])
def test_compiled_constants_are_recognised(value: Any) -> None:
    compiled = TEMPLATES.compile(value)
    assert compiled.constant
    assert compiled.render({}) is value


def test_a_broken_template_compiles_and_fails_when_rendered() -> None:
    compiled = TEMPLATES.compile({"a": "{{ broken"})
    with pytest.raises(TemplateError):
        compiled.render({})


def test_is_template() -> None:
    assert is_template({"a": [1, {"b": "x{{ y }}"}]})
    assert is_template(["{% if a %}{% endif %}"])
    assert not is_template({"{{ key }}": "text", "b": [1, None]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ a.b }}", None),
        ("no template {", None),
        ("{{ a", "unexpected end of template"),
        ("{{ a | tojsom }}", "did you mean 'tojson'"),
        ("{{ a is defind }}", "did you mean 'defined'"),
        ("{% include 'x' %}", "'include' is not available"),
        ("{% extends 'x' %}", "'extends' is not available"),
        ("{% import 'x' as y %}", "'import' is not available"),
        ("{% from 'x' import y %}", "'from … import' is not available"),
        ("{% block x %}{% endblock %}", "'block' is not available"),
        ("{% autoescape true %}{% endautoescape %}", "'autoescape' is not available"),
        ("{{ a.__class__ }}", "internal"),
        ("{% if a %}", "Unexpected end of template"),
        ("a\nb\n{{ c d }}", "line 3"),
        ("{{ " + "(" * 5000, "too deeply nested"),
        ("{{ " + "9" * 5000 + " }}", "a number is too long"),
    ],
)
def test_syntax_error(text: str, message: str | None) -> None:
    found = syntax_error(text)
    assert (found is None) if message is None else (found is not None and message in found)
    if message is not None:
        with pytest.raises(TemplateError):
            render(text)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ secret + 1 }}", "can only concatenate str"),
        ("{{ 1 + secret }}", "unsupported operand"),
        ("{{ absent + 1 }}", "'absent' is undefined"),
        ("{{ plain[secret] + 1 }}", "something undefined"),
        ("{{ plain[secret].x() }}", "something undefined"),
        ("{{ secret | round }}", "TypeError"),
        ("{{ [secret] | first | b64decode }}", ""),
        ("{{ plain | attr('_' ~ secret) }}", ""),
        ("{{ {}[secret]() }}", ""),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ secret.x.y() }}", ""),
        ("{{ '%d' % secret }}", ""),
        ("{{ dict(**{secret: 1}).pop() }}", ""),
        ("{{ cycler(**{secret: 1}) }}", ""),
        ("{{ [] | sort(**{secret: 1}) }}", ""),
        ("{{ ' ' | join(attribute=1, **{secret: 1}) }}", ""),
        ("{{ now }}", "function is not data"),
        ("{{ secret() }}", "'str' object is not callable"),
    ],
)
def test_messages_name_the_template_and_never_a_value(template: str, message: str) -> None:
    try:
        render(template, secret=SECRET)
    except TemplateError as error:
        text = json.dumps(error.as_json()) + str(error)
        assert template in error.message
        assert message in text
        assert SECRET not in text
        assert error.__suppress_context__
        assert error.code == "template"
    else:
        assert not message


def test_messages_name_the_line_and_are_short() -> None:
    with pytest.raises(TemplateError, match=r"line 3 of a template, `c \{\{ 1 / 0 \}\}`"):
        render("a\nb\nc {{ 1 / 0 }}\nd")
    with pytest.raises(TemplateError) as raised:
        render("{{ 1 / 0 }}" + "x" * 500)
    assert len(raised.value.message) < 200


class Lazy(Mapping[str, Any]):
    def __init__(self, values: dict[str, Any]) -> None:
        self.values_ = values
        self.read: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.read.append(key)
        if key == "unreachable":
            raise Unavailable("the server does not answer")
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def test_a_scope_may_be_lazy() -> None:
    scope = Lazy({"a": Lazy({"x": 1, "items": 2}), "response": Lazy({"data": Lazy({"y": 3})}), "b": 2})
    assert TEMPLATES.render("{{ a.x }}", scope) == 1
    assert scope.read == ["a"]
    assert TEMPLATES.render("{{ a.items }}", scope) == 2
    assert TEMPLATES.render("{{ a.absent }}", scope) is None
    assert TEMPLATES.render("{{ response.y }}", scope) == 3
    assert TEMPLATES.render("{{ a }}", scope) == {"x": 1, "items": 2}


def test_errors_of_a_lazy_scope_pass_through() -> None:
    with pytest.raises(Unavailable):
        TEMPLATES.render("{{ unreachable }}", Lazy({}))
    with pytest.raises(Unavailable):
        TEMPLATES.truth("{{ unreachable }}", Lazy({}))


def test_rendering_leaves_the_scope_as_it_was() -> None:
    scope = {"a": {"x": [1]}, "response": {"data": {}}}
    before = json.dumps(scope)
    TEMPLATES.render("{% set a = 5 %}{% for response in [1] %}{{ response }}{% endfor %}{{ a }}", scope)
    assert json.dumps(scope) == before


def test_scope_names_come_before_global_functions() -> None:
    assert render("{{ range }}", range="mine") == "mine"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WORDS = (
    "{{ }} {% %} {# #} a.b a response . [ ] ( ) | ~ + - * ** / // % if else for in endfor endif set macro endmacro 'x' 1 9 tojson default "
    "replace map attr __class__ loop self is defined not and , : = \n {%- -%} call filter raw endraw with namespace range"
)
FRAGMENTS = st.lists(st.sampled_from(WORDS.split(" ")) | st.text(max_size=5), max_size=25)


@given(JSON)
def test_values_of_a_scope_come_back_unchanged(value: Any) -> None:
    assert TEMPLATES.render("{{ x }}", {"x": value}) == value
    assert TEMPLATES.render("{{ x.y }}", {"x": {"y": value}}) == value
    assert json.loads(TEMPLATES.render("{{ x | tojson }}", {"x": value})) == value


@given(JSON, st.sampled_from(["{{ %s.data }}", "{{ %s.result }}", "{{ %s.k.x }}", "{{ %s['data'].y }}", "{{ %s[0] }}", "{{ %s.data[0] }}"]))
def test_envelope_lookup_never_fails(value: Any, template: str) -> None:
    TEMPLATES.render(template % "response", {"response": value})


@given(FRAGMENTS.map(" ".join) | FRAGMENTS.map("".join) | st.text())
def test_any_text_renders_or_raises_a_template_error(text: str) -> None:
    scope = {"a": {"b": [1, "x"]}, "response": {"data": {"x": 1}}, "x": "text"}
    for method in (TEMPLATES.render, TEMPLATES.render_text, TEMPLATES.render_shell):
        try:
            rendered = method(text, scope)
        except TemplateError as error:
            assert error.message
        else:
            json.dumps(rendered)
    assert isinstance(TEMPLATES.truth(text, scope), bool)
    assert isinstance(syntax_error(text), str | None)
