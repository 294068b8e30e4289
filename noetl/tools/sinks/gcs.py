"""The `gcs` sink: the data as an object in Google Cloud Storage."""

from __future__ import annotations

import json

from noetl.tools import gcs_object
from noetl.tools.access import access_of
from noetl.tools.base import Call, Json
from noetl.tools.exchange import send
from noetl.tools.gcs import described


async def run(call: Call) -> Json:
    """Upload text as it is, anything else as JSON."""
    is_text = isinstance(call.data, str)
    content = call.data if is_text else json.dumps(call.data, ensure_ascii=False)
    content_type = str(call.config.get("content_type") or ("text/plain; charset=utf-8" if is_text else "application/json"))
    destination = str(call.config.get("destination") or "")
    access = access_of(call.config, call.credential, call.secrets)
    return described(destination, await send(gcs_object.put(destination, access, content.encode(), content_type), call.timeout))
