"""Nodes that pull from a registry: the way to every cluster that is not on this machine."""

from __future__ import annotations

from noetl.ops import image
from noetl.ops.builds import Build
from noetl.ops.loaders.base import Cluster


class Registry:
    """Pushes to the registry."""

    name = "registry"

    def fits(self, cluster: Cluster) -> bool:
        """Tell whether a registry is named."""
        return bool(cluster.registry)

    def holds(self, build: Build, cluster: Cluster) -> bool:
        """Tell whether the registry has the image's digest under its name."""
        return (
            build.digest is not None
            and build.tag.startswith(f"{cluster.registry.rstrip('/')}/")
            and image.digest_in_registry(build.tag) == build.digest
        )

    def load(self, build: Build, cluster: Cluster) -> Build:
        """Push it, and return it with the registry's digest."""
        prefix = cluster.registry.rstrip("/")
        return image.push(build, registry="" if build.tag.startswith(f"{prefix}/") else prefix)
