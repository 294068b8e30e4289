"""Nodes of kind: containers of this machine's engine, each with a containerd of its own."""

from __future__ import annotations

from noetl.ops.builds import Build
from noetl.ops.loaders.base import Cluster, id_by_crictl


class Kind:
    """Loads with `kind load docker-image`."""

    name = "kind"

    def fits(self, cluster: Cluster) -> bool:
        """Tell whether kind made the nodes; a node's providerID is kind://docker/CLUSTER/NODE."""
        return all(node.provider_id.startswith("kind://") for node in cluster.nodes) or (
            cluster.context.startswith("kind-") and not any(node.provider_id for node in cluster.nodes)
        )

    def holds(self, build: Build, cluster: Cluster) -> bool:
        """Tell whether every node's containerd has the image."""
        return all(id_by_crictl(_engine(cluster), node.name, build.tag, cluster) == build.image_id for node in cluster.nodes)

    def load(self, build: Build, cluster: Cluster) -> Build:
        """Load it into the nodes."""
        names = ",".join(node.name for node in cluster.nodes)
        cluster.run(["kind", "load", "docker-image", build.tag, "--name", _name(cluster), "--nodes", names])
        return build


def _name(cluster: Cluster) -> str:
    parts = cluster.nodes[0].provider_id.removeprefix("kind://").split("/")
    return parts[1] if len(parts) > 2 else cluster.context.removeprefix("kind-")


def _engine(cluster: Cluster) -> str:
    first = cluster.nodes[0].provider_id.removeprefix("kind://").partition("/")[0]
    return first if first in ("podman", "nerdctl") else "docker"
