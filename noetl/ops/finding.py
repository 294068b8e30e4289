"""What `doctor` finds: one line each, with what to type where it is bad."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OK = "ok"
NOTE = "note"
WARN = "warn"
BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to type where it is not well."""

    name: str
    state: str
    text: str
    hint: str = ""
    ms: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the finding as `--json` prints it."""
        return asdict(self)
