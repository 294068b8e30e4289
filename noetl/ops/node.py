"""A node of a cluster, as far as images are concerned with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Node:
    """A node: what it runs on, what runs its containers, and who made it."""

    name: str
    architecture: str
    runtime: str = ""
    provider_id: str = ""
    boot_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def read(document: Mapping[str, Any]) -> Node:
    """Read a node from the cluster's own document of it."""
    meta, status = document["metadata"], document.get("status") or {}
    info = status.get("nodeInfo") or {}
    labels = {str(name): str(value) for name, value in (meta.get("labels") or {}).items()}
    return Node(
        name=str(meta["name"]),
        architecture=str(info.get("architecture") or labels.get("kubernetes.io/arch") or ""),
        runtime=str(info.get("containerRuntimeVersion") or ""),
        provider_id=str((document.get("spec") or {}).get("providerID") or ""),
        boot_id=str(info.get("bootID") or ""),
        labels=labels,
    )
