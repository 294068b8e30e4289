"""Python warns of some code that it accepts: registration neither prints that nor refuses it, among threads too."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from noetl.playbook.parse import parse
from noetl.playbook.python_code import main_parameters

DOUBTFUL = 'def main(a):\n    return a is 1 or "\\d"\n'


def read(code: str) -> None:
    """Read a playbook with that code, and what its `main` takes, as a server does."""
    tool = json.dumps({"kind": "python", "code": code})
    head = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: doubtful}\nworkflow:\n"
    parse(f"{head}  - {{step: start, tool: {tool}}}\n", "doubtful")
    assert main_parameters(code) is not None


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_warning_of_python_is_neither_shown_nor_an_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(f"{DOUBTFUL}\nonce = 1\n")
        warnings.resetwarnings()
        warnings.simplefilter("error")
        read(f"{DOUBTFUL}\ntwice = 2\n")


@pytest.mark.usefixtures("hasty")
def test_threads_that_read_code_leave_the_filters_to_others() -> None:
    """What one thread puts back another may have taken for the process's own: then nobody is warned of anything any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(DOUBTFUL)
        before, start = [*warnings.filters], threading.Barrier(8)

        def some(first: int) -> None:
            start.wait()
            for number in range(200):
                read(f"{DOUBTFUL}\nx = {first + number}\n")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(some, range(0, 1600, 200)))
        assert [*warnings.filters] == before
        with pytest.raises(UserWarning):
            warnings.warn("seen", UserWarning, stacklevel=1)
