from __future__ import annotations

from typing import Any

import pytest

from noetl.tools.base import ToolError
from noetl.tools.credential import resolve

STORED = {"pg": {"user": "me", "password": "word"}}


@pytest.mark.parametrize(
    ("auth", "fields"),
    [
        (None, None),
        ({}, None),
        ("pg", {"user": "me", "password": "word"}),
        ({"source": "credential", "key": "pg"}, {"user": "me", "password": "word"}),
        ({"type": "postgres", "credential": "pg"}, {"user": "me", "password": "word", "type": "postgres"}),
        ({"one": {"source": "credential", "key": "pg"}, "two": {}}, {"user": "me", "password": "word"}),
        ({"type": "bearer", "token": "t"}, {"type": "bearer", "token": "t"}),
    ],
)
def test_forms(auth: Any, fields: Any) -> None:
    assert resolve(auth, STORED.__getitem__) == fields


@pytest.mark.parametrize("auth", [3, {"source": "credential"}])
def test_what_names_nothing_is_refused(auth: Any) -> None:
    with pytest.raises(ToolError):
        resolve(auth, STORED.__getitem__)
