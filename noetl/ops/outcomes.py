"""How a verb ended on each host: the table, the exit code, and which to run again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noetl import home as files
from noetl.ops import stack, tables

NOT_RUN = -1


@dataclass(frozen=True)
class Outcome:
    """A verb's end on one host; `exit_code` is NOT_RUN where it was never begun."""

    host: str
    exit_code: int
    seconds: float = 0.0
    error: str = ""
    output: str = ""

    @property
    def result(self) -> str:
        """How it went, in a word."""
        return {0: "done", NOT_RUN: "not run", 130: "interrupted"}.get(self.exit_code, "failed")


def worst(outcomes: Sequence[Outcome]) -> int:
    """Return the worst exit code; a host that was not run counts as 1."""
    return max((1 if one.exit_code == NOT_RUN else one.exit_code for one in outcomes), default=0)


def table(outcomes: Sequence[Outcome]) -> str:
    """Lay the outcomes out: host, result, seconds, first line of the error."""
    rows = [
        {"host": one.host, "result": one.result, "seconds": f"{one.seconds:.1f}", "error": one.error.splitlines()[0] if one.error else None}
        for one in outcomes
    ]
    return tables.table(rows, ("host", "result", "seconds", "error"))


def as_document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the outcomes for `--json`, each with what its host printed, as JSON where it is."""
    return {"hosts": [_row(one) for one in outcomes]}


def failed(home: Path, verb: str) -> list[str]:
    """Return the hosts on which this verb failed when it was last run there."""
    found = _read(home).get(verb, [])
    return [str(name) for name in found] if isinstance(found, list) else []


def remember(home: Path, verb: str, outcomes: Sequence[Outcome]) -> None:
    """Write down on which hosts a verb failed, for `--failed`; what is known of other hosts stays."""
    ran = {one.host: one.exit_code for one in outcomes}
    with stack.lock(home, "hosts"):
        document = _read(home)
        kept = [name for name in failed(home, verb) if name not in ran]
        document[verb] = [*kept, *(name for name, code in ran.items() if code)]
        files.write_private(_file(home), json.dumps(document))


def _row(one: Outcome) -> dict[str, Any]:
    output: Any = one.output
    with contextlib.suppress(ValueError):
        output = json.loads(one.output)
    code = None if one.exit_code == NOT_RUN else one.exit_code
    return {"host": one.host, "result": one.result, "exit_code": code, "seconds": one.seconds, "error": one.error or None, "output": output}


def _read(home: Path) -> dict[str, Any]:
    try:
        document = json.loads(_file(home).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _file(home: Path) -> Path:
    return home / "hosts-failed.json"
