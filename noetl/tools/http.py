"""The `http` tool: one request over a session that keeps its connections."""

from __future__ import annotations

from noetl.playbook.duration import seconds
from noetl.tools.base import Call, Json
from noetl.tools.exchange import send
from noetl.tools.request import authorized, build

TIMEOUT = 30.0


async def run(call: Call) -> Json:
    """Send the request; return its envelope, or raise for what is not 2xx."""
    request = authorized(build(call.config, call.idempotency_key), call.config, call.credential, call.secrets)
    return await send(request, seconds(call.config.get("timeout")) or min(TIMEOUT, call.timeout))
