"""What a step that was run on a bench has returned."""

from __future__ import annotations

from typing import Any

import orjson

from noetl.worker.sandbox import Done


def value(outcome: Any) -> Any:
    """Return the result of a step, which has to be done."""
    assert isinstance(outcome, Done), outcome
    return orjson.loads(outcome.result_json)
