"""The Secret of passwords and keys that an installation makes for itself: made once, never changed, never shown."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from typing import Any

from noetl.ops.kube_api import Api, Document

NAME = "noetl-secrets"


def keys(documents: Iterable[Document], name: str = NAME) -> list[str]:
    """Return the keys of the Secret that documents refer to."""
    found: dict[str, None] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            reference = value.get("secretKeyRef")
            if isinstance(reference, dict) and reference.get("name") == name and not reference.get("optional"):
                found[str(reference["key"])] = None
            volume = value.get("secret")
            if isinstance(volume, dict) and volume.get("secretName") == name:
                found.update({str(one["key"]): None for one in volume.get("items") or ()})
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    for document in documents:
        look(document)
    return list(found)


def complete(api: Api, namespace: str, wanted: Iterable[str]) -> list[str]:
    """Give the Secret those of the keys that it lacks, each with a random value; return which. What is there stays as it is."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    found = api.find(f"{path}/{NAME}")
    missing = [key for key in wanted if found is None or key not in (found.get("data") or {})]
    if not missing:
        return []
    data = {key: base64.b64encode(_random(key).encode()).decode() for key in missing}
    if found is None:
        labels = {"app.kubernetes.io/managed-by": "noetl", "app.kubernetes.io/part-of": "noetl"}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": NAME, "labels": labels}, "data": data}
        api.request("POST", path, secret)
    else:
        # With its version: of two who complete it at the same time, one is refused.
        api.request("PUT", f"{path}/{NAME}", found | {"data": {**(found.get("data") or {}), **data}})
    return missing


def _random(key: str) -> str:
    if key.endswith("ENCRYPTION_KEY"):
        return base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)
