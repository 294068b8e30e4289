"""Nodes whose containers are run by the very engine that built the image: it is there already."""

from __future__ import annotations

from noetl.ops.builds import Build
from noetl.ops.loaders.base import Cluster
from noetl.ops.node import Node


class SharedEngine:
    """Loads nothing."""

    name = "the nodes' own engine"

    def fits(self, cluster: Cluster) -> bool:
        """Tell whether the nodes run on this machine's kernel and on a Docker Engine, or are Docker Desktop's."""
        return all(node.runtime.startswith("docker://") and _is_here(node, cluster.boot_id) for node in cluster.nodes)

    def holds(self, build: Build, cluster: Cluster) -> bool:
        """Tell that it is there."""
        return True

    def load(self, build: Build, cluster: Cluster) -> Build:
        """Return it as it is."""
        return build


def _is_here(node: Node, boot_id: str) -> bool:
    return node.boot_id == boot_id != "" or node.name == "docker-desktop"
