"""Objects in Google Cloud Storage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from noetl.tools import google
from noetl.tools.access import Access
from noetl.tools.base import ToolError
from noetl.tools.request import Request

_ENDPOINT = "https://storage.googleapis.com"


def get(uri: str, access: Access) -> Request:
    """Return the request for an object `gs://BUCKET/NAME`."""
    bucket, name = _place(uri)
    return Request("GET", f"{_endpoint(access)}/storage/v1/b/{bucket}/o/{name}", google.authorization(access), [("alt", "media")])


def put(uri: str, access: Access, content: bytes | Path, content_type: str) -> Request:
    """Return the request that uploads bytes, or a file as it is sent."""
    bucket, name = _place(uri)
    headers = {**google.authorization(access), "Content-Type": content_type}
    url = f"{_endpoint(access)}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
    if isinstance(content, Path):
        return Request("POST", url, headers, file=content)
    return Request("POST", url, headers, body=content)


def _place(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    bucket, name = parts.netloc, uri.partition("://")[2].partition("/")[2]
    if parts.scheme != "gs" or not bucket or not name:
        raise ToolError(f"{uri!r} is no object of Google Cloud Storage: write gs://BUCKET/NAME", type="config")
    return quote(bucket, safe=""), quote(name, safe="")


def _endpoint(access: Access) -> str:
    return (access.find("endpoint", variables=("STORAGE_EMULATOR_HOST",)) or _ENDPOINT).rstrip("/")
