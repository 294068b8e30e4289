"""Results of steps, however large."""

from __future__ import annotations

import contextlib
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from noetl.errors import NotFound, UsageError
from noetl.ops.client import Client


def chosen_step(client: Client, execution_id: str, step: str) -> str:
    """Return the step whose result is meant, that which ended last where none is named; NotFound where it has not run."""
    if not step:
        step = client.get(f"/api/executions/{execution_id}/status").get("result_step") or ""
        if not step:
            raise NotFound(f"no step of execution {execution_id} has ended", f"see: noetl execution status {execution_id}")
        return str(step)
    known = dict.fromkeys(row["step"] for row in client.get(f"/api/executions/{execution_id}/steps")["steps"])
    if step not in known:
        raise NotFound(f"no step {step!r} of execution {execution_id} has run", f"those that have: {', '.join(known) or 'none'}")
    return step


def write(client: Client, execution_id: str, step: str, output: BinaryIO) -> int:
    """Write a step's latest result as JSON, and return its bytes; of a loop it is that of all its items."""
    return sum(output.write(piece) for piece in client.pieces(f"/api/executions/{execution_id}/result/{step}"))


def write_file(client: Client, execution_id: str, step: str, path: Path) -> int:
    """Write it to a file, which is there only once it is whole."""
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", f"mkdir -p {quote(str(path.parent))}")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as output:
            size = write(client, execution_id, step, output)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    return size
