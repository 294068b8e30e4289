"""The layers hold, and the version is told in one place."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import noetl

ROOT = Path(__file__).parents[2]


def test_what_may_import_what() -> None:
    """In a process of its own: import-linter's command takes the loggers of its process over."""
    pytest.importorskip("importlinter")
    command = [Path(sys.executable).with_name("lint-imports"), "--config", "pyproject.toml", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert noetl.__version__ == version
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("there is no CHANGELOG.md yet")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog.read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == version
