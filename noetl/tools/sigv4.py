"""Requests to Amazon's services, signed by Signature Version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from noetl.tools.access import Access
from noetl.tools.request import Request

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Keys:
    """An access key, and the token of a session if it is one of a session."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


def keys_of(access: Access) -> Keys | None:
    """Return the keys of a credential, else those of the environment; None if there are none."""
    access_key = access.find("access_key_id", "aws_access_key_id", "access_key", "key_id", variables=("AWS_ACCESS_KEY_ID",))
    secret_key = access.secret("secret_access_key", "aws_secret_access_key", "secret_key", "secret", variables=("AWS_SECRET_ACCESS_KEY",))
    token = access.secret("session_token", "aws_session_token", variables=("AWS_SESSION_TOKEN",))
    return Keys(access_key, secret_key, token) if access_key and secret_key else None


def region_of(access: Access) -> str:
    """Return the region of the playbook, the credential or the environment."""
    return access.find("region", "region_name", "aws_region", variables=("AWS_REGION", "AWS_DEFAULT_REGION"))


def signed(request: Request, keys: Keys, *, region: str, service: str, now: datetime.datetime) -> Request:
    """Return the request with its date and signature; all of its headers are signed."""
    moment = now.astimezone(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(request.body or b"").hexdigest()
    headers = {**request.headers, "Host": _host(request), "X-Amz-Date": moment}
    if service == "s3":
        headers["X-Amz-Content-Sha256"] = payload
    if keys.token:
        headers["X-Amz-Security-Token"] = keys.token
    lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    names = ";".join(sorted(lower))
    written = [f"{name}:{lower[name]}" for name in sorted(lower)]
    lines = [request.method, _path(request, service), _query(request), *written, "", names, payload]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, text).hex()
    headers["Authorization"] = f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return replace(request, headers=headers)


def _host(request: Request) -> str:
    return request.target.host_port_subcomponent or ""


def _path(request: Request, service: str) -> str:
    path = quote(unquote(request.target.raw_path), safe="/-_.~")
    return path if service == "s3" else quote(path, safe="/-_.~")


def _query(request: Request) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in request.target.query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
