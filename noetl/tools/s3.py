"""Objects in Amazon S3, and in whatever speaks its protocol."""

from __future__ import annotations

import datetime
from urllib.parse import quote, urlsplit

from noetl.tools.access import Access
from noetl.tools.base import ToolError
from noetl.tools.request import Request
from noetl.tools.sigv4 import keys_of, region_of, signed

_REGION = "us-east-1"


def get(uri: str, access: Access) -> Request:
    """Return the request for an object `s3://BUCKET/KEY`; it is signed if there are keys, else it asks as anybody."""
    parts = urlsplit(uri)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    if parts.scheme != "s3" or not bucket or not key:
        raise ToolError(f"{uri!r} is no object of S3: write s3://BUCKET/KEY", type="config")
    region = region_of(access) or _REGION
    endpoint = access.find("endpoint", "endpoint_url", variables=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    url = f"{endpoint.rstrip('/')}/{bucket}" if endpoint else f"https://{bucket}.s3.{region}.amazonaws.com"
    request = Request("GET", f"{url}/{quote(key)}")
    keys = keys_of(access)
    return signed(request, keys, region=region, service="s3", now=datetime.datetime.now(datetime.UTC)) if keys else request
