"""The python tool in real child processes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from outcomes import value

from noetl.worker.sandbox import Failed


@pytest.mark.parametrize(
    ("code", "more", "expected"),
    [
        ("def main(a, b=2): return [a, b]", {"args": {"a": 1}}, [1, 2]),
        ("def main(a, b=2): return [a, b]", {"args": {"a": 1}, "run_args": {"b": 5}}, [1, 5]),
        ("def main(a): return a", {"args": {"a": None}, "step_args": {"a": "{{ n * 2 }}"}, "scope": {"n": 4}}, 8),
        ("def main(n): return n", {"scope": {"n": 7}}, 7),
        ("def main(input_data): return input_data", {"args": {"x": 1}}, {"x": 1}),
        ("def main(input_data): return input_data", {}, {}),
        ("def main(a, **rest): return [a, rest]", {"args": {"a": 1, "b": 2}}, [1, {"b": 2}]),
        ("def main(rows): return rows[0]['k']", {"args": {"rows": "{{ found | tojson }}"}, "scope": {"found": [{"k": 3}]}}, 3),
        ("def main(a, /, b): return [a, b]", {"args": {"a": 1, "b": 2}}, [1, 2]),
        (
            "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(x): return 2 * f(x)\n    return g\n@twice\ndef main(x): return x",  # noqa: E501
            {"args": {"x": 4}},
            8,
        ),
        ("async def main(x):\n    import asyncio\n    await asyncio.sleep(0)\n    return x", {"args": {"x": 1}}, 1),
        ("import asyncio\nasync def f(): return 5\ndef main(): return asyncio.run(f())", {}, 5),
        ("def main(): return None", {}, None),
        ("result = x * 2", {"args": {"x": 4}}, 8),
        ("result = {{ x }} + 1", {"scope": {"x": 4}}, 5),
        ("def main(): return '{% broken'", {}, "{% broken"),
        (
            "result = [json.loads('1'), os.sep, datetime.date(2020, 1, 2), uuid.UUID(int=0)]",
            {},
            [1, "/", "2020-01-02", "00000000-0000-0000-0000-000000000000"],
        ),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef main(): return P(1)",  # noqa: E501
            {},
            {"x": 1},
        ),
    ],
)
async def test_code_gets_its_args_and_its_result_comes_back(bench: Any, code: str, more: dict[str, Any], expected: Any) -> None:
    assert value(await bench.python(code, **more)) == expected


async def test_code_with_neither_main_nor_result_succeeds(bench: Any) -> None:
    assert value(await bench.python("x = 1"))["status"] == "success"


@pytest.mark.parametrize(
    ("code", "args", "said"),
    [
        ("def main(a, never_given_b): return a", {"a": 1}, "never_given_b"),
        ("def main(*rows): return 1", {}, "*args"),
        ("def main():\n    x = 1\n    raise ValueError('too odd')", {}, "ValueError: too odd (line 3 of the code)"),
        ("def main(): return {'status': 'error', 'error': 'reported'}", {}, "reported"),
        ("def main(): return {'status': 'error', 'message': 'told'}", {}, "told"),
        ("import nowhere_to_be_found", {}, "nowhere_to_be_found"),
    ],
)
async def test_failures_say_what_and_where(bench: Any, code: str, args: dict[str, Any], said: str) -> None:
    outcome = await bench.python(code, args=args)
    assert isinstance(outcome, Failed)
    assert said in outcome.error["message"]


async def test_a_reported_failure_keeps_its_result(bench: Any) -> None:
    outcome = await bench.python("result = {'status': 'error', 'error': 'x', 'rows': [1]}")
    assert orjson.loads(outcome.result_json)["rows"] == [1]


async def test_a_traceback_shows_the_code_only(bench: Any) -> None:
    outcome = await bench.python("import json\ndef inner():\n    json.loads('{')\ndef main():\n    inner()\n")
    assert outcome.error["type"] == "JSONDecodeError"
    assert outcome.error["traceback"].splitlines() == ["line 5, in main: inner()", "line 3, in inner: json.loads('{')"]


async def test_args_of_the_transition_are_values_not_templates(bench: Any) -> None:
    assert value(await bench.python("def main(x): return x", run_args={"x": "{{ secret }}"}, scope={"secret": 1})) == "{{ secret }}"


async def test_libraries_are_imported_under_their_alias(bench: Any) -> None:
    config = {"code": "result = [m.floor(1.5), sq(9)]", "libs": {"m": "math", "sq": {"from": "math", "import": "sqrt"}}}
    assert value(await bench.run("python", config)) == [1, 3.0]


async def test_code_may_be_base64_or_a_file(bench: Any, tmp_path: Path) -> None:
    code = "def main(x): return x * 7"
    assert value(await bench.run("python", {"code_b64": base64.b64encode(code.encode()).decode()}, args={"x": 6})) == 42
    path = tmp_path / "job.py"
    path.write_text(code)
    assert (
        value(await bench.run("python", {"script": {"uri": "{{ p }}", "source": {"type": "file"}}}, args={"x": 2}, scope={"p": str(path)}))
        == 14
    )
    outcome = await bench.run("python", {"script": {"uri": "/nowhere.py"}})
    assert "/nowhere.py" in outcome.error["message"]


async def test_the_context_fetches_what_did_not_travel(bench: Any) -> None:
    bench.values = {"first_step": {"rows": 3}, "workload": {"a": 1, "b": 2}}
    code = "def main(context): return [context['here'], context['first_step']['rows'], context['first_step']['rows'], 'first_step' in context, context.get('none', 5), context['workload']['b']]"  # noqa: E501
    outcome = await bench.python(code, scope={"here": 1, "workload": {"a": 1}}, partial=("workload",))
    assert value(outcome) == [1, 3, 3, True, 5, 2]
    assert bench.fetched == [("context", "first_step"), ("context", "none"), ("context", "workload")]


async def test_the_context_knows_which_names_there_are(bench: Any) -> None:
    bench.values = {"first": 3}
    code = "def main(context): return [sorted(n for n in context if n != 'args'), 'other' in context, dict(context)['first']]"
    assert value(await bench.python(code, scope={"here": 1}, names=("first",))) == [["first", "here"], False, 3]
    assert bench.fetched == [("context", "first")]


async def test_parameters_with_defaults_fetch_nothing(bench: Any) -> None:
    assert value(await bench.python("def main(x, extra='unset'): return extra", args={"x": 1})) == "unset"
    assert bench.fetched == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("result = {'a': [0, float('nan')]}", "$.a[1] is nan"),
        ("result = ['a\\0b']", "$[0] is text with a NUL"),
        ("result = {'k': '\\ud800'}", "$.k is text with half a character"),
        ("result = []\nresult.append(result)", "never ends"),
        ("result = {(1, 2): 3}", "the key (1, 2)"),
        ("result = (i for i in 'abc')", "a generator"),
        ("result = {'x y': object()}", "$['x y'] is a object"),
    ],
)
async def test_results_that_cannot_be_stored_are_refused_by_their_place(bench: Any, code: str, said: str) -> None:
    outcome = await bench.python(code)
    assert outcome.error["type"] == "result"
    assert said in outcome.error["message"]
