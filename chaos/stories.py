"""The playbooks that run meanwhile. Each python step leaves a line in the ledger, a file that nothing here ever breaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LIMIT = 7
"""How many items of the limited loop may be leased at once."""
LEDGER = """\
def main(ledger, eid, key, pause=0.0, value=1{more}):
    import os, time
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, ("%s %s %d\\n" % (eid, key, time.time_ns())).encode())
    os.close(file)
    time.sleep(pause)
    {then}
"""


@dataclass(frozen=True)
class Story:
    """A playbook, how often it runs beside the others, and how each of its executions ends: its status and its last step's result."""

    path: str
    text: str
    weight: int
    status: str
    result: object = None


def _step(name: str, then: str = "return value", *, more: str = "", key: str = "", **rest: Any) -> dict[str, Any]:
    """Return a python step that writes to the ledger; `rest` are further fields of the step, those of `args` added to its own."""
    args = {"ledger": "{{ workload.ledger }}", "eid": "{{ execution_id }}", "key": key or name, **rest.pop("args", {})}
    return {"step": name, "tool": {"kind": "python", "code": LEDGER.format(more=more, then=then), "args": args}, **rest}


def _story(name: str, steps: list[dict[str, Any]], weight: int, result: object = None, status: str = "COMPLETED") -> Story:
    path = f"chaos/{name}"
    head = {"apiVersion": "noetl.io/v2", "kind": "Playbook", "metadata": {"name": name, "path": path}}
    workload = {"ledger": "", "pages": ""}
    return Story(path, json.dumps({**head, "workload": workload, "workflow": steps}), weight, status, result)


def _chain(name: str, length: int, pause: float, weight: int) -> Story:
    names = ["start", *(f"s{number}" for number in range(1, length - 1)), "end"]
    steps = []
    for place, step in enumerate(names):
        before: dict[str, Any] = {} if place == 0 else {"args": {"value": "{{ " + names[place - 1] + " }}", "pause": pause}}
        following = {} if step == "end" else {"next": names[place + 1]}
        steps.append(_step(step, "return value + 1", **before, **following))
    return _story(name, steps, weight, length + 1)


def _loop(name: str, items: int, mode: dict[str, Any], pause: float, weight: int) -> Story:
    loop = {"in": "{{ range(" + str(items) + ") | list }}", "iterator": "n", **mode}
    args = {"value": "{{ n }}", "pause": pause}
    each = _step("each", "return value", key="each:{{ n }}", loop=loop, args=args, next="end")
    end = _step("end", "return sum(rows)", more=", rows=()", args={"rows": "{{ each.results }}"})
    return _story(name, [_step("start", next="each"), each, end], weight, items * (items - 1) // 2)


def _children(name: str) -> Story:
    loop = {"in": "{{ range(3) | list }}", "iterator": "n", "mode": "parallel"}
    tool = {"kind": "playbook", "path": "chaos/chain", "return_step": "end", "args": {"ledger": "{{ workload.ledger }}"}}
    end = _step("end", "return sum(rows)", more=", rows=()", args={"rows": "{{ each.results }}"})
    return _story(name, [_step("start", next="each"), {"step": "each", "loop": loop, "tool": tool, "next": "end"}, end], 4, 18)


def _retries(name: str) -> Story:
    fail = 'if open(ledger).read().count("%s %s " % (eid, key)) < 3:\n        raise ValueError("not yet")\n    return 7'
    again = {"retry": {"max_attempts": 6, "initial_delay": 0.2, "backoff_multiplier": 1.5, "max_delay": 1.0}}
    case = [
        {"when": "{{ event.name == 'call.error' }}", "then": again},
        {"when": "{{ event.name == 'call.done' }}", "then": {"next": [{"step": "end"}]}},
    ]
    return _story(name, [_step("start", fail, case=case), _step("end", args={"value": "{{ start }}"})], 4, 7)


def _sinks(name: str) -> Story:
    statement = "INSERT INTO public.written (eid, n) VALUES ('{{ execution_id }}', {{ n }})"
    sink = {"sink": {"tool": {"kind": "postgres", "auth": "outside", "statement": statement}}}
    # The database that the sink writes to is killed too: that is a failure like any other, and is tried again.
    again = {"retry": {"max_attempts": 20, "initial_delay": 0.5, "backoff_multiplier": 1.2, "max_delay": 2.0}}
    case = [{"when": "{{ event.name == 'call.done' }}", "then": sink}, {"when": "{{ event.name == 'call.error' }}", "then": again}]
    loop = {"in": "{{ range(8) | list }}", "iterator": "n", "mode": "parallel"}
    each = _step("each", key="each:{{ n }}", loop=loop, case=case, args={"value": "{{ n }}"}, next="end")
    end = _step("end", "return sum(rows)", more=", rows=()", args={"rows": "{{ each.results }}"})
    return _story(name, [_step("start", next="each"), each, end], 4, 28)


def _file(name: str) -> Story:
    def sql(step: str, query: str, following: str, **rest: Any) -> dict[str, Any]:
        return {"step": step, "tool": {"kind": "duckdb", "query": query}, "next": following, **rest}

    loop = {"in": "{{ range(6) | list }}", "iterator": "n", "mode": "parallel"}
    steps = [
        _step("start", next="make"),
        sql("make", "CREATE TABLE t (n INT)", "each"),
        sql("each", "INSERT INTO t VALUES ({{ n }})", "look", loop=loop),
        sql("look", "SELECT n FROM t ORDER BY n", "end"),
        _step("end", "return [row['n'] for row in rows]", more=", rows=()", args={"rows": "{{ look }}"}),
    ]
    # Each item once, though a step whose worker dies is called again: what it made of the file does not count.
    return _story(name, steps, 4, list(range(6)))


def _pages(name: str) -> Story:
    collect = {"strategy": "append", "path": "data", "into": "pages"}
    case = [
        {
            "when": "{{ event.name == 'call.done' and response.paging.hasMore == true }}",
            "then": {"collect": collect, "retry": {"max_attempts": 10, "params": {"page": "{{ (response.paging.page | int) + 1 }}"}}},
        },
        {
            "when": "{{ event.name == 'call.done' and response.paging.hasMore != true }}",
            "then": {"collect": collect, "next": [{"step": "end"}]},
        },
    ]
    tool = {"kind": "http", "method": "GET", "url": "{{ workload.pages }}", "params": {"page": 1}}
    end = _step("end", "return sum(rows)", more=", rows=()", args={"rows": "{{ fetch.data }}"})
    return _story(name, [_step("start", next="fetch"), {"step": "fetch", "tool": tool, "case": case}, end], 3, sum(range(25)))


STORIES = (
    _chain("chain", 5, 0.0, 10),
    _chain("slow", 4, 0.3, 4),
    _loop("many", 1000, {"mode": "parallel"}, 0.0, 1),
    _loop("some", 40, {"mode": "parallel"}, 0.05, 4),
    _loop("limited", 60, {"mode": "parallel", "limit": LIMIT}, 0.05, 4),
    _loop("turns", 12, {"mode": "sequential"}, 0.0, 3),
    _children("children"),
    _retries("retries"),
    _sinks("sinks"),
    _pages("pages"),
    _file("file"),
    _story("fails", [_step("start", "raise ValueError('as it should')")], 2, status="FAILED"),
)
PAGES, PAGE = 5, 5
"""How many pages the paged source has, and how many rows each."""
