"""HashiCorp Vault's key-value engine, in both its versions."""

from __future__ import annotations

from urllib.parse import quote

from noetl.tools.access import Access, answer_to
from noetl.tools.base import Json, ToolError
from noetl.tools.request import Request


def read(name: str, access: Access) -> Json:
    """Return what is stored at `MOUNT/PATH`: its field `value`, else all fields. `kv_version: 1` reads the older engine."""
    address = access.find("endpoint", "addr", "address", "url", "vault_addr", variables=("VAULT_ADDR",))
    access.needed("the address of Vault", address, "url in the credential", "VAULT_ADDR in the worker's environment")
    token = access.secret("token", "vault_token", variables=("VAULT_TOKEN",))
    access.needed("the token for Vault", token, "auth, a credential with a token")
    newer = access.find("kv_version") != "1"
    headers = {"X-Vault-Token": token}
    if namespace := access.find("namespace", variables=("VAULT_NAMESPACE",)):
        headers["X-Vault-Namespace"] = namespace
    query = [("version", version)] if newer and (version := access.find("version")) else []
    path = quote(_path(name, access.find("mount"), newer))
    data = answer_to(Request("GET", f"{address.rstrip('/')}/v1/{path}", headers, query)).get("data")
    fields = data.get("data") if newer and isinstance(data, dict) else data
    if not isinstance(fields, dict):
        raise ToolError(f"Vault has no secret {name} in an engine of version {2 if newer else 1}: see kv_version", type="not_found")
    return fields.get("value", fields)


def _path(name: str, mount: str, newer: bool) -> str:
    name = name.strip("/")
    first, _, rest = (mount.strip("/"), "", name) if mount else name.partition("/")
    if newer and not rest.startswith("data/"):
        rest = f"data/{rest}"
    return f"{first}/{rest}"
