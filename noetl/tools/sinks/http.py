"""The `http` sink: a POST of the data."""

from __future__ import annotations

from noetl.playbook.duration import seconds
from noetl.tools.base import Call, Json
from noetl.tools.exchange import send
from noetl.tools.http import TIMEOUT
from noetl.tools.request import authorized, build

_BODIES = ("payload", "body", "json", "data")


async def run(call: Call) -> Json:
    """Send the data, unless the config has a body of its own; return the envelope of the answer."""
    config = {**call.config, "method": call.config.get("method") or "POST"}
    if not any(config.get(name) is not None for name in _BODIES):
        config["payload"] = call.data
    request = authorized(build(config, call.idempotency_key), config, call.credential, call.secrets)
    return await send(request, seconds(config.get("timeout")) or min(TIMEOUT, call.timeout))
