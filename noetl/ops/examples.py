"""The example playbooks: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

import noetl
from noetl.errors import NotFound

MAIN = "demo.yaml"


def examples_dir() -> Path:
    """Return the folder of the examples."""
    package = Path(noetl.__file__).parent
    for folder in (package.parent / "examples", package / "examples"):
        if (folder / MAIN).is_file():
            return folder
    raise NotFound(f"the examples are not installed: no {MAIN} beside or inside {package}", "install noetl again, or clone its repository")


def playbooks() -> list[Path]:
    """Return the example playbooks' files, the main one last."""
    return sorted(examples_dir().glob("*.yaml"), key=lambda file: (file.name == MAIN, file.name))
