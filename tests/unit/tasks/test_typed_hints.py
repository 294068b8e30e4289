"""Whatever the code tells somebody to type is a verb with flags and words that it takes."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.parser import Parser

from noetl import program
from noetl.tasks import ns, optional_words, verbs

ROOT = Path(__file__).parents[3]
NOUNS = {str(name): [str(one) for one in noun.task_names] for name, noun in ns.collections.items()}
TOP = {name for name, _ in verbs.verbs(ns) if "." not in name}
CONTEXTS = copy.deepcopy(ns).to_contexts()
"""Of a copy: Invoke takes each help text out of its task while it builds the arguments."""
FILLED = "\0"
COMMAND = re.compile(r"(?<![\w/.-])(?:noetl|inv)((?: [\w{}=:-]+(?:\.[\w=:-]+)*)+)")


def texts(file: Path) -> Iterator[str]:
    """Yield each text of a module, with a number in place of what is filled in as a word of its own, and nothing of what hangs on one."""
    tree = ast.parse(file.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            filled = "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED for part in node.values)
            yield re.sub(f"(?<=[a-z]){FILLED}", "", filled).replace(FILLED, "1")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def commands() -> set[str]:
    """Return all that is told to be typed: what begins with a noun and its verb, or with a verb that has no noun."""
    found = set()
    for file in (ROOT / "noetl").rglob("*.py"):
        for text in texts(file):
            for match in COMMAND.finditer(text):
                words = match.group(1).split()
                if words[0] in TOP or (words[0] in NOUNS and len(words) > 1) or (words[0].islower() and "." in words[0]):
                    found.add(" ".join(words))
    return found


def without_prose(words: list[str]) -> list[str]:
    """Leave out what is said after the words that a verb takes, as in `execution get ID names the parent`."""
    taken = sum(len(context.positional_args) for context in CONTEXTS if context.name == words[0])
    for place in range(taken + 1, len(words) if taken else 0):
        if not words[place].startswith("-") and not words[place - 1].startswith("-"):
            return words[:place]
    return words


@pytest.mark.parametrize("command", sorted(commands()))
def test_it_can_be_typed(command: str) -> None:
    words = [re.sub(r"^(N|\{\w*\})$", "1", word) for word in command.split()]
    asked = Parser(contexts=CONTEXTS).parse_argv(without_prose(optional_words.named(program.join(words, NOUNS))))
    assert len(asked) == 1, f"more than one verb: {[one.name for one in asked]}"
