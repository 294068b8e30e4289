"""The private file by which verbs find a server that a port leads to."""

from __future__ import annotations

import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from noetl.ops import forward


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_file_is_private_and_gone_at_the_end() -> None:
    with forward.kept("a") as file:
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("a", 0o600)
    assert not list(file.parent.glob("forward*"))


def test_one_that_ends_leaves_the_file_of_another() -> None:
    with ExitStack() as first, ExitStack() as second:
        file = first.enter_context(forward.kept("a"))
        second.enter_context(forward.kept("b"))
        assert file.read_text() == "b"
        first.close()
        assert file.read_text() == "b"
        second.close()
        assert not file.exists()


def test_one_whose_file_is_gone_ends_all_the_same() -> None:
    with forward.kept("a") as file:
        file.unlink()
