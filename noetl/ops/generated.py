"""The Secret of passwords and keys that an installation makes for itself: made once, never changed, never shown."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping

from noetl.ops.kube_api import Api, Document

NAME = "noetl-secrets"
MARK = "noetl.io/made-at-first-install"


def wanted(documents: Iterable[Document]) -> dict[str, str]:
    """Return the keys that are to be in the Secret, and what each is (`token` or `key`), as the document of the Secret says."""
    for document in documents:
        annotations = document["metadata"].get("annotations") or {}
        if document["kind"] == "Secret" and document["metadata"]["name"] == NAME and MARK in annotations:
            pairs = (one.partition("=") for one in str(annotations[MARK]).split(",") if one)
            return {name: made for name, _, made in pairs}
    return {}


def complete(api: Api, namespace: str, wanted: Mapping[str, str]) -> list[str]:
    """Give the Secret those of the keys that it lacks, each with a random value; return which. What is there stays as it is."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    found = api.find(f"{path}/{NAME}")
    missing = [key for key in wanted if found is None or key not in (found.get("data") or {})]
    if not missing:
        return []
    data = {key: base64.b64encode(_random(wanted[key]).encode()).decode() for key in missing}
    if found is None:
        labels = {"app.kubernetes.io/managed-by": "noetl", "app.kubernetes.io/part-of": "noetl"}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": NAME, "labels": labels}, "data": data}
        api.request("POST", path, secret)
    else:
        # With its version: of two who complete it at the same time, one is refused.
        api.request("PUT", f"{path}/{NAME}", found | {"data": {**(found.get("data") or {}), **data}})
    return missing


def _random(made: str) -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode() if made == "key" else secrets.token_urlsafe(32)
