"""The layers hold, and the version is told in one place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import noetl

ROOT = Path(__file__).parents[2]


def test_what_may_import_what(monkeypatch: pytest.MonkeyPatch) -> None:
    lint = pytest.importorskip("importlinter.api")
    monkeypatch.chdir(ROOT)
    from importlinter import cli

    assert lint is not None
    assert cli.lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert noetl.__version__ == version
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("there is no CHANGELOG.md yet")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog.read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == version
