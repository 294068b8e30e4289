"""What bounds a step: `timeout` of its calls and its run, `limit` of its loop, the `pool` of its workers, `retry` after its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.duration import seconds
from noetl.playbook.error_classes import CLASSES, TYPES, is_class
from noetl.playbook.expression import is_template
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Retry, StepRetry, Timeout
from noetl.playbook.repeats import read_delays, read_retry

TIMEOUT_WORDS = ("attempt", "total")
CLASS_WORDS = ("on", "except")
MAX_LIMIT = 1_000_000

_CLASS_SYNONYMS = {"oom": "memory", "4xx": "http_4xx", "5xx": "http_5xx", "network": "connection", "all": "any"}

POOL = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a pool may be called: its name is part of a NATS subject."""


def read_timeout(check: Check, node: Node | None, place: str) -> Timeout:
    """Read a length of time, which bounds one call, or `{attempt, total}`."""
    if node is None:
        return Timeout()
    if node.fields is None:
        return Timeout(attempt=_seconds(check, node, f"`timeout` of {place}"))
    check.words(node.fields, TIMEOUT_WORDS, f"`timeout` of {place}", {"call": "attempt", "run": "total", "step": "total"})
    found = {word: check.field(node.fields, word) for word in TIMEOUT_WORDS}
    if not any(found.values()):
        check.mistakes.add(node.position, f"`timeout` of {place} needs `attempt` or `total`", "write timeout: {attempt: 30s, total: 5m}")
    return Timeout(
        **{word: _seconds(check, bound, f"`{word}` of the timeout of {place}") for word, bound in found.items() if bound is not None}
    )


def read_limit(check: Check, node: Node | None, *, parallel: bool) -> int | str | None:
    """Read how many items of a loop may run at once: a number or a template."""
    if node is None:
        return None
    if not parallel:
        check.mistakes.add(node.position, "`limit` of a loop needs `mode: parallel`: a sequential loop runs one item at a time")
    if isinstance(node.value, str) and is_template(node.value):
        check.value(node)
        return node.value
    if isinstance(node.value, int) and not isinstance(node.value, bool) and 1 <= node.value <= MAX_LIMIT:
        return node.value
    check.mistakes.add(node.position, f"`limit` of a loop has to be a whole number of 1 to {MAX_LIMIT}, or a template that gives one")
    return None


def read_pool(check: Check, node: Node | None, what: str) -> str:
    """Read the name of a pool; none given is an empty one."""
    if node is None:
        return ""
    name = check.text(node, what)
    if name and not POOL.fullmatch(name):
        check.mistakes.add(node.position, f"{what} is {quote(name)}", "use letters, digits, _ and -, at most 64 of them")
        return ""
    return name


def read_step_retry(check: Check, node: Node | None, place: str) -> StepRetry | None:
    """Read `{max_attempts, on, except, …}`, a number of attempts, or true."""
    if node is None:
        return None
    if node.fields is None:
        retry = read_retry(check, node)
        return StepRetry(retry) if isinstance(retry, Retry) else None
    own: Mapping[str, Field] = {word: field for word, field in node.fields.items() if word not in CLASS_WORDS}
    on, excepted = (_classes(check, check.field(node.fields, word), word) for word in CLASS_WORDS)
    retry = read_delays(check, own, f"`retry` of {place}", CLASS_WORDS)
    return StepRetry(retry, on or frozenset({"any"}), excepted)


def _classes(check: Check, node: Node | None, word: str) -> frozenset[str]:
    if node is None:
        return frozenset()
    found = set()
    for item in node.items if node.items is not None else (node,):
        name = str(item.value) if isinstance(item.value, str | int) and not isinstance(item.value, bool) else ""
        if not is_class(name):
            hint = check.nearest(name, sorted({*CLASSES, *TYPES}), _CLASS_SYNONYMS)
            check.mistakes.add(item.position, f"`{word}` of `retry` has no class {quote(item.text or item.value)}", hint)
        found.add(name)
    return frozenset(found)


def _seconds(check: Check, node: Node, what: str) -> float | None:
    found = seconds(node.value)
    if found is None:
        hint = "a template cannot stand here: write the value itself" if isinstance(node.value, str) and is_template(node.value) else ""
        check.mistakes.add(node.position, f'{what} has to be a length of time, such as 30, "30s" or "5m"', hint)
    return found
