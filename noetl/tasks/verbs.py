"""The verbs' reference, written out of their own help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from invoke.collection import Collection
from invoke.tasks import Task

_HEAD = """\
# Verbs

Each verb is called as `inv NOUN.VERB` in a checkout, and as `noetl NOUN VERB` (or `noetl NOUN.VERB`) anywhere. This page is
generated from the verbs' own help by `python -m noetl.tasks.verbs > docs/verbs.md`.

Exit codes: 0 done, 1 failed, 2 bad usage or a broken playbook, 130 Ctrl-C.
"""


def reference(collection: Collection) -> str:
    """Return the reference of a collection's verbs as Markdown."""
    return "\n".join([_HEAD, *(_section(name, task) for name, task in verbs(collection))])


def verbs(collection: Collection) -> Iterator[tuple[str, Task[Any]]]:
    """Yield each verb with its full name, those without a noun first."""
    names = sorted(collection.task_names, key=lambda name: ("." in name, name))
    for name in names:
        yield str(name), collection[str(name)]


def flags(task: Task[Any]) -> Iterator[tuple[str, str]]:
    """Yield each argument of a verb as it is typed, with its help."""
    texts = dict(task.help)
    arguments = task.get_arguments()
    task.help = texts  # Invoke takes each text out of it while it builds the arguments
    for argument in arguments:
        names = [str(name).replace("_", "-").strip("-") for name in (argument.name, *argument.nicknames)]
        typed = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in names)
        if argument.positional:
            typed = names[0].upper()
        elif argument.kind is not bool:
            typed += f" {'KEY=VALUE' if argument.kind is list else argument.kind.__name__.upper()}"
        yield typed.replace(" STR", " TEXT").replace(" INT", " N").replace(" FLOAT", " SECONDS"), argument.help or ""


def _section(name: str, task: Task[Any]) -> str:
    text = "\n".join(line.strip() for line in (task.__doc__ or "").strip().splitlines())
    rows = [f"| `{typed}` | {help} |" for typed, help in flags(task)]
    listed = ["", "| | |", "|---|---|", *rows] if rows else []
    return "\n".join([f"## {name}", "", text, *listed, ""])


if __name__ == "__main__":
    import sys

    from noetl.tasks import ns

    sys.stdout.write(reference(ns))
