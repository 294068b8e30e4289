"""Access tokens of Google Cloud: a credential's own, one for a service account's key, or that of the machine."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from noetl.tools import oauth
from noetl.tools.access import Access, answer_to
from noetl.tools.base import Json, ToolError
from noetl.tools.request import Request

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_METADATA = "metadata.google.internal"
_LIFETIME = 3600


def token(access: Access) -> str:
    """Return an access token; it is kept until it expires."""
    given = access.secret("access_token", "token")
    if given:
        return given
    account = service_account(access)
    key = hashlib.sha256(orjson.dumps(account, option=orjson.OPT_SORT_KEYS)).hexdigest()
    answer = oauth.kept(f"google {key}", lambda: _of_key(account) if account else _of_machine(access))
    found = str(answer.get("access_token") or "")
    if not found:
        raise ToolError("Google answered without an access token", type="oauth2")
    access.secrets.add(found)
    return found


def authorization(access: Access) -> dict[str, str]:
    """Return the header that goes with each request."""
    return {"Authorization": f"Bearer {token(access)}"}


def service_account(access: Access) -> Mapping[str, Json]:
    """Return a service account's key: the credential itself, the JSON in one of its fields, or the file that the environment names."""
    fields = access.credential
    if fields.get("private_key") and fields.get("client_email"):
        return fields
    for name in ("service_account", "service_account_json", "service_account_key", "key", "value"):
        if isinstance(fields.get(name), Mapping):
            return dict(fields[name])
        if isinstance(fields.get(name), str) and fields[name].lstrip().startswith("{"):
            return _parsed(fields[name], f"{name} of the credential")
    path = access.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if fields or not path:
        return {}
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"), "GOOGLE_APPLICATION_CREDENTIALS")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"GOOGLE_APPLICATION_CREDENTIALS names {path}, which cannot be read", type="config") from error


def _parsed(text: str, place: str) -> dict[str, Json]:
    try:
        key = orjson.loads(text)
    except ValueError:
        key = None
    if not isinstance(key, dict):
        raise ToolError(f"{place} is no JSON object: it is to be the key of a service account", type="config")
    return key


def _of_key(account: Mapping[str, Json]) -> dict[str, Json]:
    """Exchange a signed statement for a token (RFC 7523)."""
    uri = str(account.get("token_uri") or _TOKEN_URI)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": _statement(account, uri)}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return answer_to(Request("POST", uri, headers, body=urlencode(form).encode()))


def _statement(account: Mapping[str, Json], audience: str) -> str:
    try:
        key = serialization.load_pem_private_key(str(account.get("private_key") or "").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ToolError("private_key of the service account is no PEM private key", type="config") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ToolError("private_key of the service account is no RSA key", type="config")
    now = int(time.time())
    header = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id")}
    claims = {"iss": account.get("client_email"), "scope": _SCOPE, "aud": audience, "iat": now, "exp": now + _LIFETIME}
    text = ".".join(_encoded(orjson.dumps(part)) for part in (header, claims))
    return f"{text}.{_encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _of_machine(access: Access) -> dict[str, Json]:
    """Ask the metadata server, which machines and pods in Google Cloud have."""
    host = access.environ.get("GCE_METADATA_HOST") or _METADATA
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    try:
        return answer_to(Request("GET", url, {"Metadata-Flavor": "Google"}))
    except ToolError as error:
        raise ToolError(
            f"there is no credential for Google Cloud, and this machine has none of its own ({error.message}): give auth, the name of a"
            " credential with a service account's key or an access_token",
            type="config",
        ) from error
