"""The sinks `event` and `event_log`: the event that says so is all that is written."""

from __future__ import annotations

from noetl.tools.base import Call, Json


def run(call: Call) -> Json:
    """Return the data, for the event."""
    return call.data
