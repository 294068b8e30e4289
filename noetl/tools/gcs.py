"""The `gcs` tool: a file of the worker's machine, uploaded to Google Cloud Storage."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path

from noetl.tools import gcs_object
from noetl.tools.access import access_of
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.exchange import send

_PLAIN = "application/octet-stream"


async def run(call: Call) -> Json:
    """Upload `source` to `destination`, below it if that ends in a slash; return what the object is."""
    path = _file(str(call.config.get("source") or ""))
    destination = str(call.config.get("destination") or "")
    destination += path.name if destination.endswith("/") else ""
    access = access_of(call.config, call.credential, call.secrets)
    content_type = str(call.config.get("content_type") or mimetypes.guess_type(path.name)[0] or _PLAIN)
    envelope = await send(gcs_object.put(destination, access, path, content_type), call.timeout)
    return described(destination, envelope)


def _file(written: str) -> Path:
    path = Path(written.removeprefix("file://"))
    if not path.is_file():
        raise ToolError(f"source is {path.absolute()}, which is no file on this worker's machine", type="config")
    return path


def described(destination: str, envelope: Mapping[str, Json]) -> dict[str, Json]:
    """Return what an upload's answer says of the object."""
    data = envelope["data"] if isinstance(envelope["data"], Mapping) else {}
    return {
        "status": "success",
        "uri": destination,
        "bucket": data.get("bucket"),
        "name": data.get("name"),
        "size": int(data.get("size") or 0),
        "generation": data.get("generation"),
    }
