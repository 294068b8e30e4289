"""The checkout of noetl that the verbs of those who work on it run in."""

from __future__ import annotations

from pathlib import Path

import noetl
from noetl.errors import UsageError


def checkout() -> Path:
    """Return the folder of the checkout, or raise UsageError for an installed package."""
    folder = Path(noetl.__file__).parent.parent
    if not (folder / "pyproject.toml").is_file():
        raise UsageError("this verb needs a checkout of noetl, not an installed package", "git clone it, then: pip install -e '.[dev]'")
    return folder
