"""What documents, hints and examples tell to type is there: each verb, and each of its flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from noetl.tasks import ns
from noetl.tasks.verbs import verbs

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "noetl").rglob("*.py"))
_CODE = re.compile(r"`([^`\n]+)`|^    (.+)$", re.MULTILINE)
_TYPED = re.compile(r"(?<![\w./-])(?:noetl|inv) (?=[a-z-])((?:(?!, | or |\. | and )[^`\n|;&<>(])*)")
_VERB = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)?")
_FLAG = re.compile(r"--[a-z][a-z-]*")
CORE = {"--help", "--version", "--list", "--parallel", "--batch", "--fail-fast", "--failed", "--accept-new", "--hosts", "--dry", "--json"}
VERBS = dict(verbs(ns))
NOUNS = {name.partition(".")[0] for name in VERBS if "." in name}


def known_flags(name: str) -> set[str]:
    """Return the long flags of a verb, and those of every verb."""
    task = VERBS[name]
    texts = dict(task.help)
    found = {f"--{word.strip('-').replace('_', '-')}" for argument in task.get_arguments() for word in argument.names}
    task.help = texts
    return found | {f"--no-{word[2:]}" for word in found} | CORE


def told(path: Path) -> Iterator[str]:
    """Yield the texts of a file in which something to type may stand."""
    if path.suffix == ".md":
        for found in _CODE.finditer(path.read_text()):
            yield found[1] or found[2]
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def mistakes(text: str) -> Iterator[str]:
    """Yield what a text tells to type that is not there."""
    for line in _TYPED.findall(text):
        words = line.split()
        while words and words[0].startswith("-"):
            words = words[2 if words[0] in ("-H", "-c", "--parallel", "--batch", "--hosts") else 1 :]
        if not words or not _VERB.fullmatch(words[0].rstrip(",.:)…")):
            continue
        first = words[0].rstrip(",.:)…")
        second = words[1].rstrip(",.:)…") if len(words) > 1 else ""
        name = first if first in VERBS else f"{first}.{second}"
        if name not in VERBS:
            if "." in first or (first in NOUNS and second):
                yield f"{line!r}: no verb"
            continue
        yield from (f"{line!r}: no {flag}" for flag in _FLAG.findall(line) if flag not in known_flags(name))


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_verbs_and_flags_that_are_told_to_type_are_there(path: Path) -> None:
    assert [mistake for text in told(path) for mistake in mistakes(text)] == []


def test_a_verb_or_a_flag_that_is_not_there_is_noticed() -> None:
    assert list(mistakes("see: noetl server begin")) == ["'server begin': no verb"]
    assert list(mistakes("inv -H a server.stop --now")) == ["'-H a server.stop --now': no --now"]
    assert list(mistakes("noetl run hello --detach; inv worker.list")) == []
