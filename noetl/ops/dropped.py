"""What a document no longer says, of what was applied before: a server-side apply takes the leaves away and leaves empty structures behind.

A probe or a hook without anything in it is refused by the cluster, so such a structure is taken away as a whole, by a patch of its own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]
"""Field names as `managedFields` has them: f:NAME of a mapping, k:KEYS of a list's item."""


def owned(before: Mapping[str, Any], manager: str) -> Fields:
    """Return the fields of an object that a manager has applied."""
    entries = before["metadata"].get("managedFields") or []
    return next((one["fieldsV1"] for one in entries if one["manager"] == manager and one["operation"] == "Apply"), {})


def patch(fields: Fields, document: Mapping[str, Any], *, whole: bool = False) -> dict[str, Any]:
    """Return a strategic merge patch that takes away the structures that a document no longer has; empty where there are none.

    With `whole` everything else that the document says is in it too.
    """
    found: dict[str, Any] = copy.deepcopy(dict(document)) if whole else {}
    for name, below in fields.items():
        if not name.startswith("f:") or not below:
            continue
        key = name[2:]
        now = document.get(key)
        if now is None:
            found[key] = None
        elif isinstance(now, Mapping):
            if inner := patch(below, now, whole=whole):
                found[key] = inner
        elif isinstance(now, list) and (items := _items(below, now, whole=whole)):
            found[key] = items
    return found


def _items(fields: Fields, now: list[Any], *, whole: bool) -> list[Any]:
    keys = {name: json.loads(name[2:]) for name in fields if name.startswith("k:")}
    found = []
    for item in now:
        name = next((name for name, key in keys.items() if _is(item, key)), None)
        inner = patch(fields[name], item, whole=whole) if name is not None else {}
        if inner:
            found.append({**keys[name or ""], **inner})
        elif whole:
            found.append(item)
    return found


def _is(item: Any, key: Mapping[str, Any]) -> bool:
    # A key that the document leaves out has a default, such as a port's protocol.
    return isinstance(item, Mapping) and all(item.get(name, value) == value for name, value in key.items())
