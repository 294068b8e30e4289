"""The actions that call the tool again, after an error or for the next page, and the one that keeps what the pages bring."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from noetl.playbook.check import Check
from noetl.playbook.document import Field, Node
from noetl.playbook.duration import seconds
from noetl.playbook.expression import is_template
from noetl.playbook.fields import check_shape
from noetl.playbook.mistakes import quote
from noetl.playbook.model import Collect, Json, Page, Retry
from noetl.playbook.shapes import ANY, MAPPING, METHOD, TEXT, Shape

PAGES: Mapping[str, Shape] = {
    "url": TEXT,
    "method": METHOD,
    **dict.fromkeys(("params", "headers"), MAPPING),
    **dict.fromkeys(("body", "data", "payload"), ANY),
}
"""The fields of a request for the next page; any of them in a `retry` makes it one."""

BACKOFFS = ("linear", "exponential")
MODES: Mapping[str, Literal["append", "extend", "replace"]] = {"append": "append", "extend": "extend", "replace": "replace"}
COLLECT_WORDS = ("strategy", "mode", "path", "from", "into")

_MOST_ATTEMPTS = 1_000_000_000
_SYNONYMS = {"multiplier": "backoff_multiplier", "retries": "max_attempts", "attempts": "max_attempts"}
_HINT = "write retry: {max_attempts: 3, initial_delay: 1.0}"


def read_retry(check: Check, node: Node) -> Retry | Page | None:
    """Read `{max_attempts, …}`, a number of attempts, or true; with fields of a request it asks for the next page."""
    if node.fields is not None:
        if not node.fields.keys().isdisjoint(PAGES):
            return read_page(check, node.fields, "`retry`")
        return read_delays(check, node.fields, "`retry`", PAGES)
    if node.value is True:
        return Retry()
    if node.items is not None or node.value is False:
        check.mistakes.add(node.position, "`retry` has to be a mapping, a number of attempts, or true", _HINT)
        return None
    attempts = _plain(check, node, "`retry`", _attempts_in, "a mapping, true, or a number of attempts of at least 1")
    return Retry(max_attempts=attempts) if attempts is not None else None


def read_page(check: Check, fields: Mapping[str, Field], what: str) -> Page:
    """Read what the request for the next page has over the one before it."""
    check.words(fields, (*PAGES, *RETRY_WORDS), what, _SYNONYMS)
    overrides: dict[str, Json] = {}
    for word, shape in PAGES.items():
        if (node := check.field(fields, word)) is None:
            continue
        check_shape(check, node, shape, f"`{word}` of {what}")
        overrides[word] = check.value(node)
    if ignored := [word for word in RETRY_WORDS if word in fields and word != "max_attempts"]:
        check.mistakes.warn(fields[ignored[0]].position, f"`{ignored[0]}` of {what} is ignored: the next page is asked for at once")
    values = {word: _number(check, fields, word, what) for word in RETRY_WORDS}
    attempts = values["max_attempts"]
    return Page(overrides, attempts) if attempts is not None else Page(overrides)


def read_collect(check: Check, node: Node) -> Collect | None:
    """Read `{strategy, path, into}`, or `from` instead of `path`."""
    fields = check.mapping(node, "`collect`")
    if node.fields is None:
        return None
    check.words(fields, COLLECT_WORDS, "`collect`")
    path, source, into = (check.field(fields, word) for word in ("path", "from", "into"))
    if (path is None) == (source is None):
        mistake = "`collect` needs `path` or `from`" if path is None else "`collect` takes `path` or `from`, not both"
        check.mistakes.add(node.position, mistake, "write collect: {path: data, into: NAME}")
    for field, word in ((path, "path"), (source, "from")):
        value = field.value if field is not None else ""
        if field is not None and isinstance(value, str) and not is_template(value) and (not value or any(map(str.isspace, value))):
            check.mistakes.add(field.position, f"`{word}` of `collect` has to be a dotted name", f"write {word}: data.items")
    mode = check.field(fields, "strategy") or check.field(fields, "mode")
    if mode is not None and mode.text not in MODES:
        check.mistakes.add(mode.position, f"unknown `strategy` {quote(mode.text)} of `collect`", check.nearest(mode.text, MODES))
    if path is not None and check.text(path, "`path` of `collect`"):
        check.value(path)
    return Collect(
        mode=MODES.get(mode.text, "append") if mode is not None else "append",
        path=path.value if path is not None else None,
        source=check.value(source) if source is not None else None,
        into=check.name(into, "`into` of `collect`") or None if into is not None else None,
    )


def _attempts_in(value: Json) -> int | None:
    """Return a number of attempts."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        return None
    return int(value) if 1 <= value <= _MOST_ATTEMPTS else None


def _delay_in(value: Json) -> float | None:
    number = _number_in(value)
    return number if number is not None else seconds(value)


def _factor_in(value: Json) -> float | None:
    return number if (number := _number_in(value)) else None


def _number_in(value: Json) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1e15 and math.isfinite(value) else None


def _backoff_in(value: Json) -> str | None:
    return value if value in BACKOFFS else None


def _flag_in(value: Json) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


RETRY_WORDS: Mapping[str, tuple[str, Callable[[Json], Any], str]] = {
    "max_attempts": ("max_attempts", _attempts_in, "a whole number of at least 1"),
    "initial_delay": ("initial_delay", _delay_in, "a number of seconds, 0 or more"),
    "delay": ("initial_delay", _delay_in, "a number of seconds, 0 or more"),
    "backoff_multiplier": ("multiplier", _factor_in, "a number above 0"),
    "backoff": ("backoff", _backoff_in, "linear or exponential"),
    "max_delay": ("max_delay", _delay_in, "a number of seconds, 0 or more"),
    "jitter": ("jitter", _flag_in, "true or false"),
}
"""The words of `retry`: the field that each fills, what reads its value, and which values it takes."""


def read_delays(check: Check, fields: Mapping[str, Field], what: str, more: Collection[str] = ()) -> Retry:
    """Read how often and how long after each other calls are made; `more` are words that somebody else reads."""
    check.words(fields, (*RETRY_WORDS, *more), what, _SYNONYMS)
    given: dict[str, Any] = {}
    for word, (name, _, _) in RETRY_WORDS.items():
        value = _number(check, fields, word, what)
        if value is not None:
            given.setdefault(name, value)
    return Retry(**given)


def _number(check: Check, fields: Mapping[str, Field], word: str, what: str) -> Any:
    node = check.field(fields, word)
    _, read, words = RETRY_WORDS[word]
    return _plain(check, node, f"`{word}` of {what}", read, words) if node is not None else None


def _plain(check: Check, node: Node, what: str, read: Callable[[Json], Any], words: str) -> Any:
    value = read(node.value) if node.fields is None and node.items is None else None
    if value is None:
        hint = "a template cannot stand here: write the value itself" if isinstance(node.value, str) and is_template(node.value) else ""
        check.mistakes.add(node.position, f"{what} has to be {words}", hint)
    return value
