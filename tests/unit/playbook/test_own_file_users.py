"""Who works on the DuckDB file that an execution's steps share."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.playbook.model import Tool
from noetl.playbook.own_file import uses_own_file


@pytest.mark.parametrize(
    ("kind", "config", "uses"),
    [
        ("duckdb", {"query": "SELECT 1"}, True),
        ("duckdb", {"query": "SELECT 1", "database": None}, True),
        ("duckdb", {"query": "SELECT 1", "database": ""}, True),
        ("duckdb", {"query": "SELECT 1", "database": ":memory:"}, False),
        ("duckdb", {"query": "SELECT 1", "database": "{{ workload.where }}"}, False),
        ("transfer", {"source": {"kind": "duckdb", "query": "SELECT 1"}}, True),
        ("transfer", {"source": {"tool": "DuckDB", "query": "SELECT 1"}}, True),
        ("transfer", {"source": {"type": "duckdb", "database": "a.duckdb", "query": "SELECT 1"}}, False),
        ("transfer", {"source": {"kind": "http", "url": "u"}}, False),
        ("transfer", {"source": "{{ nothing }}"}, False),
        ("python", {"code": "x"}, False),
    ],
)
def test_who_works_on_it(kind: str, config: dict[str, Any], uses: bool) -> None:
    assert uses_own_file(Tool(kind, config)) is uses
