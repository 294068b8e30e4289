"""Sinks in both shapes, with one word for each meaning."""

import pytest

from noetl.playbook.model import Sink, Tool
from noetl.playbook.parse import parse

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: demo}\n"


def sink(written: str) -> Sink:
    text = f"{HEAD}workflow:\n- step: start\n  tool: {{kind: shell, cmds: a}}\n  case: [{{when: true, then: {{sink: {written}}}}}]\n"
    found = parse(text).steps["start"].rules[0].then[0]
    assert isinstance(found, Sink)
    return found


ROW = {"a": "{{ result.a }}"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "{tool: postgres, auth: x, table: t, mode: upsert, key: id, args: {a: '{{ result.a }}'}}",
            Sink(Tool("postgres", {"auth": "x", "table": "t", "mode": "upsert", "key": ["id"]}), ROW, True),
        ),
        (
            "{tool: {kind: postgres, credential: x}, table: t, mode: append, from: {a: '{{ result.a }}'}}",
            Sink(Tool("postgres", {"auth": "x", "table": "t", "mode": "insert"}), ROW, True),
        ),
        (
            "{tool: {type: postgres, command: [a, b], table: null}, table: t, statement: c, timeout: 1m}",
            Sink(Tool("postgres", {"statement": ["a", "b"], "table": "t", "timeout": 60.0})),
        ),
        (
            "{backend: postgres, table: t, keys: 'a, b', mode: '{{ m }}', db_port: 5432, payload: '{{ result }}'}",
            Sink(Tool("postgres", {"table": "t", "key": ["a", "b"], "mode": "{{ m }}", "db_port": 5432}), "{{ result }}", True),
        ),
        (
            "{tool: postgres, table: t, mode: upsert, key: '{{ k }}'}",
            Sink(Tool("postgres", {"table": "t", "mode": "upsert", "key": "{{ k }}"})),
        ),
        ("{tool: {auth: x}, kind: postgres, sql: s}", Sink(Tool("postgres", {"auth": "x", "statement": "s"}))),
        ("{tool: duckdb, commands: c, database: d}", Sink(Tool("duckdb", {"statement": "c", "database": "d"}))),
        ("{tool: {kind: python, code: 'x = {{ ('}}", Sink(Tool("python", {"code": "x = {{ ("}))),
        ("{tool: {kind: python, code: c, args: {a: 1}}, args: {b: 2}}", Sink(Tool("python", {"code": "c"}), {"a": 1}, True)),
        ("{tool: {kind: python, code: c}, args: {a: 1}, data: {b: 2}}", Sink(Tool("python", {"code": "c"}, {"a": 1}), {"b": 2}, True)),
        (
            "{tool: http, endpoint: http://u, method: PUT, headers: {h: v}, payload: {a: 1}}",
            Sink(Tool("http", {"url": "http://u", "method": "PUT", "headers": {"h": "v"}}), {"a": 1}, True),
        ),
        ("{tool: http, url: http://u, payload: null}", Sink(Tool("http", {"url": "http://u"}))),
        ("{tool: event_log, args: '{{ response }}', label: x}", Sink(Tool("event", {"label": "x"}), "{{ response }}", True)),
        ("{tool: {kind: event}}", Sink(Tool("event", {}))),
    ],
)
def test_sink(written: str, expected: Sink) -> None:
    assert sink(written) == expected
