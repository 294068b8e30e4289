"""The page of limits says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from noetl import errors
from noetl.engine import loops, retry, turn, waking
from noetl.playbook import check, document, steps
from noetl.server import children, evaluator, execution, sweeper
from noetl.server.routes import executions
from noetl.settings import Settings
from noetl.worker import child, surroundings

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
KIB, MIB, GIB = 1024, 1024**2, 1024**3


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("a playbook's text", f"{document.MAX_BYTES // MIB} MiB"),
        ("nesting in a playbook", f"{document.MAX_DEPTH} levels"),
        ("steps of a playbook", f"{steps.MAX_STEPS:,}"),
        (
            "names: of a playbook and its path, a step, a variable, an argument, a key of the workload, a credential",
            f"{check.NAME_LENGTH} characters",
        ),
        ("variables of an execution", f"{steps.MAX_VARIABLES:,}"),
        ("a variable", f"{turn.MAX_VARIABLE // MIB} MiB"),
        ("values in a playbook, its aliases written out", f"{document.MAX_NODES:,}"),
        ("the payload of an execution", f"{executions.MAX_PAYLOAD // MIB} MiB"),
        ("a request to the API", f"{Settings.max_request // MIB} MiB"),
        ("an execution's `output`", f"{waking.MAX_OUTPUT // MIB} MiB"),
        ("a result", f"{Settings.max_result // MIB} MiB"),
        ("a result that is kept in its command's row", f"{child.INLINE // KIB} KiB"),
        ("items of a loop", f"{loops.MAX_ITEMS:,}"),
        ("items of a loop that one transition issues", f"{loops.CHUNK:,}"),
        ("steps that one input may enter without any work between", f"{turn.ENTER_LIMIT:,}"),
        ("depth of sub-playbooks", f"{children.MAX_DEPTH}"),
        ("time of a step's call", f"{Settings.step_timeout:,.0f} s"),
        ("memory of a step's process", f"{Settings.step_memory // GIB} GiB"),
        ("wait for a sub-playbook", f"{children.TIMEOUT:.0f} s"),
        ("routing templates that are not plain: time and memory", f"{evaluator.SECONDS:.0f} s and {evaluator.MEMORY // GIB} GiB"),
        ("the `hint` of an error", f"{errors.MOST_HINT} characters"),
        ("what a step prints, as it is logged", f"{surroundings.OUTPUT_LIMIT // KIB} KiB"),
        ("times that a command's worker may be lost under it", f"{sweeper.MAX_LOST}"),
        ("wait that `Retry-After` may ask for", f"{retry.LONGEST_RETRY_AFTER:,.0f} s"),
        ("wait in the request that begins an execution", f"{executions.LONGEST_WAIT:.0f} s"),
        ("steps that a worker runs at once", f"{Settings.max_workers}"),
    ],
)
def test_the_page_says_what_the_code_does(row: str, limit: str) -> None:
    assert f"| {row} | {limit} |" in PAGE


def test_a_result_is_inline_to_the_same_size_everywhere() -> None:
    assert child.INLINE == execution.INLINE
