"""What tests of the embedded services share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from noetl.ops import stack
from noetl.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a home of its own; what was started in it is stopped."""
    own = Settings(home=tmp_path / "home")
    try:
        yield own
    finally:
        stack.stop_all(own, force=True, timeout=5)
