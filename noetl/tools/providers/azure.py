"""Azure Key Vault."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from urllib.parse import quote, urlencode

import orjson

from noetl.tools import oauth
from noetl.tools.access import Access, answer_to
from noetl.tools.base import Json, ToolError
from noetl.tools.request import Request

_AUTHORITY = "https://login.microsoftonline.com"
_RESOURCE = "https://vault.azure.net"
_SCOPE = f"{_RESOURCE}/.default"
_METADATA = "http://169.254.169.254"
_VERSION = "7.4"


def read(name: str, access: Access) -> Json:
    """Return a version (the latest) of a secret."""
    vault = access.find("vault_url", "endpoint", variables=("AZURE_KEY_VAULT_URL",))
    if not vault and (short := access.find("vault", "vault_name")):
        vault = f"https://{short}.vault.azure.net"
    access.needed("the key vault", vault, "vault_url in the credential", "endpoint")
    path = "/".join(quote(part, safe="") for part in (name, access.find("version")) if part)
    headers = {"Authorization": f"Bearer {_token(access)}"}
    return answer_to(Request("GET", f"{vault.rstrip('/')}/secrets/{path}", headers, [("api-version", _VERSION)])).get("value")


def _token(access: Access) -> str:
    """Return an access token, of the application that the credential names or else of the machine; it is kept until it expires."""
    if given := access.secret("access_token", "token"):
        return given
    fields = {
        "tenant_id": access.find("tenant_id", "tenant", variables=("AZURE_TENANT_ID",)),
        "client_id": access.find("client_id", variables=("AZURE_CLIENT_ID",)),
        "client_secret": access.secret("client_secret", variables=("AZURE_CLIENT_SECRET",)),
    }
    if not fields["tenant_id"] and not fields["client_secret"]:
        host = (access.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _METADATA).rstrip("/")
        return _kept(["machine", host, fields["client_id"]], lambda: _of_machine(host, fields["client_id"]), access)
    if missing := [field for field, value in fields.items() if not value]:
        raise ToolError(f"the credential for Azure has no {' and no '.join(missing)}", type="config")
    authority = (access.find("authority", variables=("AZURE_AUTHORITY_HOST",)) or _AUTHORITY).rstrip("/")
    form = {"grant_type": "client_credentials", "client_id": fields["client_id"], "client_secret": fields["client_secret"], "scope": _SCOPE}
    request = Request(
        "POST",
        f"{authority}/{quote(fields['tenant_id'], safe='')}/oauth2/v2.0/token",
        {"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
    )
    return _kept([authority, fields], lambda: answer_to(request), access)


def _kept(key: Json, fetch: Callable[[], dict[str, Json]], access: Access) -> str:
    answer = oauth.kept(f"azure {hashlib.sha256(orjson.dumps(key)).hexdigest()}", fetch)
    token = str(answer.get("access_token") or "")
    if not token:
        raise ToolError("Azure answered without an access token", type="oauth2")
    access.secrets.add(token)
    return token


def _of_machine(host: str, client_id: str) -> dict[str, Json]:
    """Ask the metadata service for the machine's managed identity; `client_id` picks one of several."""
    params = [("api-version", "2018-02-01"), ("resource", _RESOURCE), *([("client_id", client_id)] if client_id else [])]
    try:
        return answer_to(Request("GET", f"{host}/metadata/identity/oauth2/token", {"Metadata": "true"}, params))
    except ToolError as error:
        raise ToolError(
            f"there is no credential for Azure, and this machine has no managed identity ({error.message}): give auth, the name of a"
            " credential with tenant_id, client_id and client_secret",
            type="config",
        ) from error
