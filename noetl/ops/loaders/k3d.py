"""Nodes of k3d: containers of this machine's engine, each with a k3s in it."""

from __future__ import annotations

from noetl.ops.builds import Build
from noetl.ops.loaders.base import Cluster, id_by_crictl


class K3d:
    """Loads with `k3d image import`."""

    name = "k3d"

    def fits(self, cluster: Cluster) -> bool:
        """Tell whether k3d made the nodes; it names them k3d-CLUSTER-server-0 and so on."""
        return all(node.name.startswith("k3d-") for node in cluster.nodes)

    def holds(self, build: Build, cluster: Cluster) -> bool:
        """Tell whether every node's containerd has the image."""
        return all(id_by_crictl("docker", node.name, build.tag, cluster) == build.image_id for node in cluster.nodes)

    def load(self, build: Build, cluster: Cluster) -> Build:
        """Load it into the cluster's nodes."""
        cluster.run(["k3d", "image", "import", build.tag, "--cluster", _name(cluster)])
        return build


def _name(cluster: Cluster) -> str:
    if cluster.context.startswith("k3d-"):
        return cluster.context.removeprefix("k3d-")
    return cluster.nodes[0].name.removeprefix("k3d-").rpartition("-")[0].rpartition("-")[0]
