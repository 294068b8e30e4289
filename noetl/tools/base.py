"""What every tool is given and what it may raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noetl.errors import NoetlError

Json = Any
TOO_LONG = "raise `timeout` of the step and of its tool: the shorter counts, and without either the worker's NOETL_STEP_TIMEOUT"
"""What to do about a call that was out of time."""


class ToolError(NoetlError):
    """A tool call that failed: becomes the step's `error`.

    `type` names the class of failure (an exception's name, `timeout`, `process_exit`, `http_status`, …), `status` is an HTTP status,
    `result` what the tool got before it failed (an HTTP envelope, say).
    """

    code = "tool_failed"

    def __init__(self, message: str, hint: str = "", *, type: str = "error", status: int | None = None, result: Json = None) -> None:
        super().__init__(message, hint)
        self.type = type
        self.status = status
        self.result = result

    def as_error(self, before: str = "") -> dict[str, Json]:
        """Return the mapping that templates see as `error`."""
        error: dict[str, Json] = {**super().as_error(before), "type": self.type}
        if self.status is not None:
            error |= {"status": self.status, "status_code": self.status}
        error |= {name: self.details[name] for name in ("sqlstate", "retry_after", "data") if self.details.get(name) is not None}
        return error


@dataclass(frozen=True)
class Call:
    """One call of a tool, with everything already rendered.

    `config` is the tool's mapping without `kind`, `args` and `with`; `args` are the effective ones (§6); `scope` the names that templates
    see; `credential(name)` returns a stored credential's data, `context(name)` the value of a name that did not travel with the command;
    `own_file` is the DuckDB database of the execution, where the playbook names no other one.
    """

    kind: str
    config: Mapping[str, Json]
    args: dict[str, Json]
    scope: Mapping[str, Json]
    execution_id: str
    step: str
    idempotency_key: str
    timeout: float
    call_folder: str
    own_file: Path | None
    credential: Callable[[str], Mapping[str, Json]]
    context: Callable[[str], Json]
    secrets: set[str] = field(default_factory=set)
    """Values to be masked in whatever leaves the tool; a tool adds those that it learns."""
    data: Json = None
    """What a sink is to write."""
    has_data: bool = False
    """Whether the playbook says what to write; if not, it is the result of the step."""

    @property
    def workdir(self) -> Path:
        """A folder of this call alone, to be made when it is needed."""
        return Path(self.call_folder)
