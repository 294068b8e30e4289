"""Lengths of time as playbooks write them: 30, "30s", "5m", "1.5h"."""

from __future__ import annotations

import math
import re

from noetl.playbook.model import Json

_TEXT = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d)?\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: Json) -> float | None:
    """Return a length of time in seconds, None when the value is none that is longer than nothing."""
    if isinstance(value, str) and (match := _TEXT.fullmatch(value)):
        value = float(match[1]) * _SECONDS[match[2] or "s"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < math.inf and value <= 1e15 else None
