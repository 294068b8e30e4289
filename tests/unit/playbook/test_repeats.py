"""The forms of `retry`, of a request for the next page, and of `collect`."""

from typing import Any

import pytest

from noetl.playbook.model import Collect, Page, Playbook, Retry
from noetl.playbook.parse import parse

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: demo}\n"


def playbook(then: str) -> Playbook:
    return parse(f"{HEAD}workflow: [{{step: start, tool: {{kind: http, url: http://u}}, case: [{{when: true, then: {then}}}]}}]")


@pytest.mark.parametrize(
    ("then", "action"),
    [
        ("{retry: true}", Retry()),
        ("{retry: 5}", Retry(max_attempts=5)),
        ("{retry: '5'}", Retry(max_attempts=5)),
        ("{retry: {}}", Retry()),
        ("{retry: {max_attempts: '4', initial_delay: 0}}", Retry(max_attempts=4, initial_delay=0.0)),
        ("{retry: {delay: '0.5', backoff: linear}}", Retry(initial_delay=0.5, backoff="linear")),
        ("{retry: {delay: 9, initial_delay: 2}}", Retry(initial_delay=2.0)),
        ("{retry: {initial_delay: 500ms, max_delay: 2m, jitter: 'true'}}", Retry(initial_delay=0.5, max_delay=120.0, jitter=True)),
        ("{retry: {backoff_multiplier: 1.5, max_delay: null}}", Retry(multiplier=1.5)),
        ("{retry: {params: {page: '{{ n }}'}, max_attempts: 20}}", Page({"params": {"page": "{{ n }}"}}, 20)),
        ("{retry: {url: '{{ next }}', method: null}}", Page({"url": "{{ next }}"})),
        (
            "{call: {headers: {a: b}, body: [1], data: 1, payload: {c: d}}}",
            Page({"headers": {"a": "b"}, "body": [1], "data": 1, "payload": {"c": "d"}}),
        ),
        ("{collect: {strategy: append, path: data.data, into: pages}}", Collect("append", "data.data", None, "pages")),
        ("{collect: {mode: replace, from: '{{ response }}'}}", Collect("replace", None, "{{ response }}")),
        ("{collect: {from: response.items, mode: extend, into: all}}", Collect("extend", None, "response.items", "all")),
        ("{collect: {from: {id: '{{ response.id }}'}}}", Collect(source={"id": "{{ response.id }}"})),
    ],
)
def test_action(then: str, action: Any) -> None:
    assert playbook(then).steps["start"].rules[0].then == (action,)


def test_delay_of_a_page_warns() -> None:
    found = playbook("{retry: {params: {page: 2}, initial_delay: 1}}")
    assert found.warnings == ("line 4: `initial_delay` of `retry` is ignored: the next page is asked for at once",)
