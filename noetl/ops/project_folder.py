"""The folder .noetl of a project: what verbs keep beside its files, and git sees none of."""

from __future__ import annotations

from pathlib import Path

NAME = Path(".noetl")


def make(project: Path = Path()) -> Path:
    """Return the folder of a project, made where it is not there yet."""
    folder = project / NAME
    folder.mkdir(exist_ok=True)
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
    return folder
