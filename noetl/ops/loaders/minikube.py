"""Nodes of minikube: machines or containers that its own command puts images into."""

from __future__ import annotations

import json
from typing import Any

from noetl.errors import NoetlError
from noetl.ops.builds import Build
from noetl.ops.loaders.base import Cluster

_LABEL = "minikube.k8s.io/name"


class Minikube:
    """Loads with `minikube image load`."""

    name = "minikube"

    def fits(self, cluster: Cluster) -> bool:
        """Tell whether minikube made the nodes; it labels them with the profile."""
        return all(_LABEL in node.labels for node in cluster.nodes)

    def holds(self, build: Build, cluster: Cluster) -> bool:
        """Tell whether the profile lists the image."""
        try:
            found: list[dict[str, Any]] = json.loads(cluster.run([*_minikube(cluster), "image", "ls", "--format", "json"]))
        except (NoetlError, ValueError):
            return False
        return any(f"sha256:{str(one.get('id', '')).removeprefix('sha256:')}" == build.image_id for one in found)

    def load(self, build: Build, cluster: Cluster) -> Build:
        """Load it into the profile's nodes."""
        cluster.run([*_minikube(cluster), "image", "load", build.tag])
        return build


def _minikube(cluster: Cluster) -> list[str]:
    return ["minikube", "--profile", cluster.nodes[0].labels[_LABEL]]
