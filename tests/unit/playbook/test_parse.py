"""What a good playbook is read as, and each rule of registration on a playbook that breaks only it."""

from textwrap import dedent
from typing import Any

import pytest

from noetl.errors import PlaybookError
from noetl.playbook.model import Call, Fail, KeychainEntry, Log, Loop, Next, Playbook, Position, Result, Rule, Set, Target, Tool
from noetl.playbook.parse import parse

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: demo, path: /a/demo}\n"
SHELL = 'tool: {kind: shell, cmds: "true"}'


def problems(text: str) -> list[dict[str, Any]]:
    with pytest.raises(PlaybookError) as raised:
        parse(dedent(text))
    found: list[dict[str, Any]] = raised.value.details["problems"]
    return found


def workflow(text: str) -> Playbook:
    return parse(f"{HEAD}workflow:\n{text}")


def start(text: str) -> Any:
    return workflow(f"- step: start\n  {SHELL}\n{text}").steps["start"]


def rules(then: str) -> Any:
    return start(f"  case: [{{when: true, then: {then}}}]\n").rules[0].then


def test_whole_playbook() -> None:
    playbook = parse(
        dedent(
            """\
            apiVersion: noetl.io/v2
            kind: Playbook
            metadata: {name: demo, path: /a/demo, description: shows, version: 1.10, labels: {team: x}}
            workload: {n: 3}
            spec: {m: 1}
            tracing: {any: thing}
            workflow:
              - step: start
                desc: begins
                args: {a: "{{ workload.n }}"}
                loop: {in: "{{ [1] }}", iterator: one, mode: async}
                tool: {kind: python, code: "def main(): pass", args: {b: null}, libs: {m: math}, timeout: 5m}
                vars: {v: "{{ result }}"}
                case:
                  - when: "{{ event.name == 'loop.done' }}"
                    then: {next: end}
                next: [{step: end, args: {c: 1}}]
              - step: end
            """
        )
    )
    first = playbook.steps["start"]
    assert (playbook.name, playbook.path, playbook.description, playbook.version) == ("demo", "/a/demo", "shows", "1.10")
    assert (playbook.labels, playbook.workload, playbook.spec, playbook.warnings) == ({"team": "x"}, {"n": 3}, {"m": 1}, ())
    assert list(playbook.steps) == ["start", "end"]
    assert first.tool == Tool("python", {"code": "def main(): pass", "libs": {"m": "math"}, "timeout": 300.0}, {"b": None})
    assert first.loop == Loop("{{ [1] }}", "one", "parallel")
    assert first.rules == (Rule("{{ event.name == 'loop.done' }}", (Next((Target("end"),)),)),)
    assert (first.args, first.vars, first.next) == ({"a": "{{ workload.n }}"}, (("v", "{{ result }}"),), (Target("end", {"c": 1}),))
    assert (first.desc, first.position, playbook.steps["end"].tool) == ("begins", Position(8, 5), None)


@pytest.mark.parametrize(
    ("top", "path"),
    [
        ("metadata: {name: n, path: /p}\npath: q\nname: m", "/p"),
        ("metadata: {name: n}\npath: q", "q"),
        ("metadata: {name: n}", "n"),
    ],
)
def test_catalog_path(top: str, path: str) -> None:
    assert parse(f"apiVersion: noetl.io/v2\nkind: Playbook\n{top}\nworkflow: [{{step: start}}]").path == path


RULES = {
    "wrong apiVersion": ("apiVersion: noetl.io/v1", "`apiVersion` has to be"),
    "wrong kind": ("kind: Workflow", "`kind` has to be"),
    "no metadata.name": ("metadata: {path: x}", "`metadata` needs a `name`"),
    "no metadata": ("metadata:", "a playbook needs `metadata`"),
    "empty workflow": ("workflow: []", "`workflow` needs at least one step"),
    "no workflow": ("workflow:", "`workflow` needs at least one step"),
    "workflow no list": ("workflow: {start: {}}", "`workflow` has to be a list"),
    "no start": (f"workflow: [{{step: begin, {SHELL}}}]", "`workflow` needs a step named `start`"),
    "step without step": ("workflow: [{step: start}, {desc: x, tool: {kind: shell, cmds: a}}]", "a step needs a name"),
    "step with type": ("workflow: [{step: start, type: python}]", "`type` of the step `start` is from version 1"),
    "tool no mapping": ("workflow: [{step: start, tool: [python]}]", "`tool` of the step `start` has to be a mapping"),
    "tool without kind": ("workflow: [{step: start, tool: {code: a}}]", "`tool` of the step `start` needs a `kind`"),
    "unknown kind": ("workflow: [{step: start, tool: {kind: perl}}]", "unknown kind `perl`"),
    "no tool": ("workflow: [{step: start}, {step: middle}]", "the step `middle` needs a `tool`"),
    "next with when": ("workflow: [{step: start, next: [{when: a, then: b}]}]", "`next` takes no `when`"),
    "next with then": ("workflow: [{step: start, next: [{step: start, then: b}]}]", "`next` takes no `then`"),
    "next with else": ("workflow: [{step: start, next: {else: b}}]", "`next` takes no `else`"),
    "next without step": ("workflow: [{step: start, next: [{args: {}}]}]", "`next` needs a `step`"),
    "case no list": ("workflow: [{step: start, case: {when: a, then: {}}}]", "`case` has to be a list"),
    "case without when": ("workflow: [{step: start, case: [{then: {}}]}]", "an entry of `case` needs `when`"),
    "case without then": ("workflow: [{step: start, case: [{when: true}]}]", "an entry of `case` needs `then`"),
    "loop without in": (f"workflow: [{{step: start, {SHELL}, loop: {{iterator: i}}}}]", "`loop` needs `in`"),
    "loop without iterator": (f"workflow: [{{step: start, {SHELL}, loop: {{in: []}}}}]", "`loop` needs `iterator`"),
    "unknown mode": (f"workflow: [{{step: start, {SHELL}, loop: {{in: [], iterator: i, mode: all}}}}]", "unknown `mode` `all`"),
    "next to nowhere": ("workflow: [{step: start, next: there}]", "there is no step `there`"),
    "next to end": ("workflow: [{step: start, next: end}]", "there is no step `end`"),
    "call to nowhere": ("workflow: [{step: start, case: [{when: true, then: {call: {step: there}}}]}]", "there is no step `there`"),
    "unknown key": ("worklaod: {}", "unknown key `worklaod` in a playbook"),
    "unknown step key": ("workflow: [{step: start, nxt: start}]", "unknown key `nxt` in the step `start`"),
    "unknown tool key": (
        "workflow: [{step: start, tool: {kind: shell, cmds: a, cmdz: a}}]",
        "unknown key `cmdz` in a tool of kind `shell`",
    ),
    "unknown action": ("workflow: [{step: start, case: [{when: true, then: {nxt: start}}]}]", "unknown action `nxt`"),
    "unknown action key": ("workflow: [{step: start, next: {step: start, arg: 1}}]", "unknown key `arg` in `next`"),
}


@pytest.mark.parametrize(("line", "message"), RULES.values(), ids=RULES.keys())
def test_rule_of_registration(line: str, message: str) -> None:
    good = {"apiVersion": " noetl.io/v2", "kind": " Playbook", "metadata": " {name: n}", "workflow": " [{step: start}]"}
    key, _, value = line.partition(":")
    text = "\n".join(f"{word}:{rest}" for word, rest in (good | {key: value}).items())
    found = problems(text)
    assert [problem["message"].startswith(message) for problem in found] == [True], [problem["message"] for problem in found]
    assert text.split("\n")[found[0]["line"] - 1] in (line, "apiVersion: noetl.io/v2")


def test_words_under_metadata_and_x_keys_are_free() -> None:
    text = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: n, anything: 1}\nx-own: 1\nworkflow: [{step: start, x-note: a}]"
    assert parse(text).name == "n"


def test_second_step_of_one_name_is_dropped_with_a_warning() -> None:
    playbook = workflow("- step: start\n  desc: first\n- step: start\n  desc: second\n")
    assert playbook.steps["start"].desc == "first"
    assert playbook.warnings == ("line 7: there is a step `start` already, at line 5; the first one counts",)


def test_repeated_key_counts_with_its_last_value_and_warns() -> None:
    playbook = workflow("- step: start\n  desc: first\n  desc: second\n")
    assert playbook.steps["start"].desc == "second"
    assert playbook.warnings == ("line 7: the key `desc` is repeated; the last one counts",)


def test_condition_without_template_warns() -> None:
    playbook = workflow("- step: start\n  case: [{when: result.ok, then: {}}]\n")
    assert playbook.warnings == ("line 6: `when` is a text without {{ … }}, which is never true",)


@pytest.mark.parametrize(
    ("form", "targets"),
    [
        ("start", (Target("start"),)),
        ("[start, a/b-c]", (Target("start"), Target("a/b-c"))),
        ("{step: start, args: {x: 1}}", (Target("start", {"x": 1}),)),
        ("[{step: start}, {step: a/b-c, args: {x: '{{ y }}'}}]", (Target("start"), Target("a/b-c", {"x": "{{ y }}"}))),
        ("null", ()),
        ("[]", ()),
    ],
)
def test_forms_of_next(form: str, targets: tuple[Target, ...]) -> None:
    step = start(f"  next: {form}\n  case: [{{when: true, then: {{next: {form}}}}}]\n- step: a/b-c\n  {SHELL}\n")
    assert step.next == targets
    assert step.rules[0].then == ((Next(targets),) if targets else ())


@pytest.mark.parametrize(
    ("then", "actions"),
    [
        ("{set: {a: 1, b: '{{ x }}'}}", (Set((("a", 1), ("b", "{{ x }}"))),)),
        ("{set: [{name: a, value: 1}, {name: a, value: 2}]}", (Set((("a", 1), ("a", 2))),)),
        ("{set: {ctx: {k: v}, a: 1}}", (Set((("a", 1),), {"k": "v"}),)),
        ("{set: {ctx: '{{ x }}'}}", (Set((("ctx", "{{ x }}"),)),)),
        ("{result: {from: response.data}}", (Result(source="response.data"),)),
        ("{result: {from: '{{ response }}'}}", (Result("{{ response }}"),)),
        ("{result: {from: a, to: b}}", (Result({"from": "a", "to": "b"}),)),
        ("{result: null}", (Result(None),)),
        ("{fail: {message: '{{ x }}'}}", (Fail("{{ x }}"),)),
        ("{fail: no}", None),
        ("{fail: why}", (Fail("why"),)),
        ("{fail: true}", (Fail("an action `fail` ended the execution"),)),
        ("{log: '{{ x }}'}", (Log("{{ x }}"),)),
        ("{call: {step: start, args: {a: 1}}}", (Call(Target("start", {"a": 1})),)),
        ("[{step: start, args: {a: 1}}]", (Next((Target("start", {"a": 1}),)),)),
        ("[{step: start}, {log: a}]", (Next((Target("start"),)), Log("a"))),
        ("{next: start, call: {step: start}, log: a, result: 1, set: {b: 1}}", ("Set", "Result", "Log", "Call", "Next")),
        ("[{log: a}, {next: start, set: {b: 1}}, {log: c}]", ("Log", "Set", "Next", "Log")),
        ("[]", ()),
        ("{}", ()),
    ],
)
def test_actions(then: str, actions: tuple[Any, ...] | None) -> None:
    if actions is None:
        with pytest.raises(PlaybookError):
            rules(then)
        return
    found = rules(then)
    assert found == actions or tuple(type(action).__name__ for action in found) == actions


def test_actions_of_one_mapping_stand_in_the_order_of_their_carrying_out() -> None:
    then = "{next: start, retry: 2, log: a, sink: {tool: event}, result: 1, set: {b: 1}, collect: {path: data}, fail: no, call: {url: http://u}}"
    names = [type(action).__name__ for action in rules(then.replace("fail: no", "fail: why"))]
    assert names == ["Collect", "Set", "Result", "Sink", "Log", "Retry", "Page", "Next", "Fail"]


def test_keychain() -> None:
    playbook = parse(
        HEAD
        + dedent(
            """\
            keychain:
              - {name: api, kind: static, scope: local, map: {key: "{{ workload.key }}"}}
              - {name: token, kind: oauth2, endpoint: http://u, data: {secret: "{{ keychain.api.key }}"}, timeout: 2s}
              - {name: api, kind: bearer, token: t}
            workflow: [{step: start}]
            """
        )
    )
    assert playbook.keychain == (
        KeychainEntry("api", "static", {"scope": "local", "map": {"key": "{{ workload.key }}"}}),
        KeychainEntry("token", "oauth2", {"endpoint": "http://u", "data": {"secret": "{{ keychain.api.key }}"}, "timeout": 2.0}),
    )
    assert playbook.warnings == ("line 7: the keychain has `api` already; the first one counts",)


@pytest.mark.parametrize(
    ("written", "tool"),
    [
        (
            "{kind: playbooks, path: a/b, payload: {x: 1, y: 1}, args: {y: 2}, return_step: end}",
            Tool("playbook", {"path": "a/b", "return_step": "end"}, {"x": 1, "y": 2}),
        ),
        (
            "{kind: playbook, path: a/b, payload: '{{ workload }}', timeout: 5m}",
            Tool("playbook", {"path": "a/b", "payload": "{{ workload }}", "timeout": 300.0}),
        ),
        ("{kind: secrets, provider: env, name: A}", Tool("secrets", {"provider": "env", "name": "A"})),
        (
            "{kind: transfer, source: {type: http, endpoint: http://u}, target: {tool: postgres, credential: c, table: t, mode: append}, "
            "chunk_size: 5}",
            Tool(
                "transfer",
                {
                    "source": {"kind": "http", "url": "http://u"},
                    "target": {"kind": "postgres", "auth": "c", "table": "t", "mode": "insert"},
                    "chunk_size": 5,
                },
            ),
        ),
        (
            "{kind: transfer, source: '{{ workload.source }}', target: {kind: postgres, sql: q, mode: '{{ m }}'}}",
            Tool("transfer", {"source": "{{ workload.source }}", "target": {"kind": "postgres", "query": "q", "mode": "{{ m }}"}}),
        ),
        (
            "{kind: python, script: {source: {type: inline, code: 'x = {{ ('}}}",
            Tool("python", {"script": {"source": {"type": "inline", "code": "x = {{ ("}}}),
        ),
        (
            "{kind: postgres, script: {source: {type: http, endpoint: http://u}}}",
            Tool("postgres", {"script": {"source": {"type": "http", "endpoint": "http://u"}}}),
        ),
    ],
)
def test_tools(written: str, tool: Tool) -> None:
    assert start(f"- step: other\n  tool: {written}\n") is not None
    assert workflow(f"- step: start\n  tool: {written}\n").steps["start"].tool == tool


def test_workbook_tool_is_resolved_with_the_steps_args_over_its_own() -> None:
    playbook = parse(
        HEAD
        + dedent(
            """\
            workbook:
              - name: convert
                assert: {expects: [c]}
                tool: {kind: python, code: "def main(c, d): pass", args: {c: null, d: 1}, assert: {returns: [f]}}
              - {name: convert, tool: {kind: shell, cmds: a}}
            workflow:
              - {step: start, tool: {kind: workbook, name: convert, args: {c: 2}, timeout: 5}}
              - {step: again, tool: {kind: workbook, task: convert, with: {d: 3}}}
            """
        )
    )
    assert playbook.steps["start"].tool == Tool("python", {"code": "def main(c, d): pass", "timeout": 5.0}, {"c": 2, "d": 1})
    assert playbook.steps["again"].tool == Tool("python", {"code": "def main(c, d): pass"}, {"c": None, "d": 3})
    assert playbook.warnings == ("line 8: the workbook has `convert` already; the first one counts",)


def test_python_code_may_be_no_template_and_no_python() -> None:
    assert start("- step: other\n  tool: {kind: python, code: 'x = {{ ('}\n")


def test_retry_of_a_tool_is_ignored_with_a_warning() -> None:
    playbook = workflow("- step: start\n  tool: {kind: shell, cmds: a, retry: {max_attempts: 3}}\n")
    assert playbook.steps["start"].tool == Tool("shell", {"cmds": "a"})
    assert "`retry` of a tool is ignored" in playbook.warnings[0]


def test_error_names_source_place_line_caret_and_hint() -> None:
    text = HEAD + "workflow:\n  - step: start\n    nxt: start\n    lop: 1\n"
    with pytest.raises(PlaybookError) as raised:
        parse(text, "a/b.yaml")
    message = "a/b.yaml:6:5: unknown key `nxt` in the step `start`\n    nxt: start\n    ^\n(and 1 more problem)"
    assert (raised.value.message, raised.value.hint) == (message, "did you mean `next`?")
    assert raised.value.details["problems"][1] == {
        "line": 7,
        "column": 5,
        "message": "unknown key `lop` in the step `start`",
        "hint": "did you mean `loop`?",
        "excerpt": "    lop: 1\n    ^",
    }
