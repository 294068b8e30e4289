"""What the documents say is what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from noetl.ops import examples
from noetl.playbook import actions, kinds
from noetl.playbook.parse import parse

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_ROW = re.compile(r"^\| (E?\d+) [^|]*\|(.*)\|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert [link for link in _LINK.findall(document.read_text()) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("file", examples.playbooks(), ids=lambda path: path.name)
def test_examples_are_playbooks_without_warnings(file: Path) -> None:
    playbook = parse(file.read_text(), str(file))
    assert playbook.path == f"examples/{file.stem}"
    assert not playbook.warnings


def test_the_readme_begins_with_the_two_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:24]
    assert "    python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/inv demo" in first_screen
    assert "    python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/inv test" in first_screen


def test_the_readmes_playbook_is_an_example_of_ten_lines() -> None:
    (shown,) = _YAML.findall((ROOT / "README.md").read_text())
    lines = [line for line in (ROOT / "examples" / "hello.yaml").read_text().splitlines() if not line.startswith("#")]
    assert shown.splitlines() == lines
    assert len(lines) == 10


def test_the_language_page_has_all_that_is_supported() -> None:
    text = (ROOT / "docs" / "language.md").read_text()
    whole, *_parts = _YAML.findall(text)
    assert not parse(whole).warnings
    supported, not_yet = text.split("## Known, but not in this version")
    assert [kind for kind in kinds.supported() if f"### {kind}\n" not in supported] == []
    assert [action for action in actions.ACTIONS if f"| `{action}` |" not in supported] == []
    assert [word for word in set(kinds.KINDS) - set(kinds.supported()) if f"`{word.removesuffix('s')}" not in not_yet] == []


def test_every_package_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    folders = [folder.parent.relative_to(ROOT) for folder in (ROOT / "noetl").rglob("__init__.py")]
    mapped = project["tool"]["setuptools"]["package-dir"]
    assert sorted(packages) == sorted([*(".".join(folder.parts) for folder in folders), *mapped])
    assert all((ROOT / folder).is_dir() for folder in mapped.values())
    declared = f"## [{project['project']['version']}]"
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert declared in changelog or f"version, {project['project']['version']}." in changelog


def test_what_always_holds_has_tests() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().split("## What always holds")[1].split("\n## ")[0]
    rows = {found[1]: _TEST.findall(found[2]) for found in _ROW.finditer(section)}
    assert list(rows) == [*map(str, range(1, 14)), *(f"E{number}" for number in range(1, 16))]
    assert [line for line, tests in rows.items() if not tests] == []
    defined = {file: set(_DEFINED.findall((ROOT / "tests" / file).read_text())) for tests in rows.values() for file, _ in tests}
    assert [f"{file}::{name}" for tests in rows.values() for file, name in tests if name not in defined[file]] == []


def test_decisions_are_numbered_once_each() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    assert [file.read_text().split(".", 1)[0] for file in files] == [f"# {number}" for number in range(1, len(files) + 1)]
