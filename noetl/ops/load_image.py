"""Getting an image to the nodes of a cluster, by the way that fits what the cluster is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noetl.errors import UsageError
from noetl.ops.builds import Build
from noetl.ops.loaders.base import Cluster, Loader, Run, run, this_boot
from noetl.ops.loaders.k3d import K3d
from noetl.ops.loaders.kind import Kind
from noetl.ops.loaders.minikube import Minikube
from noetl.ops.loaders.registry import Registry
from noetl.ops.loaders.shared_engine import SharedEngine
from noetl.ops.node import Node
from noetl.ops.process import Progress, quiet

LOADERS: tuple[Loader, ...] = (Registry(), SharedEngine(), Kind(), K3d(), Minikube())
"""In the order in which they are asked: a registry that is named is meant."""


@dataclass(frozen=True)
class Loaded:
    """An image that the nodes have: as they know it, by which way, and whether it was there before."""

    build: Build
    way: str
    already: bool


def load(build: Build, nodes: Sequence[Node], context: str, *, registry: str = "", run: Run = run, progress: Progress = quiet) -> Loaded:
    """Bring an image to nodes, unless it is there; raise UsageError where no way leads to them."""
    cluster = Cluster(context, tuple(nodes), registry, this_boot(), run)
    loader = choose(cluster)
    if loader.holds(build, cluster):
        progress(f"{build.tag}: already there ({loader.name})")
        return Loaded(build, loader.name, already=True)
    progress(f"{build.tag}: loading ({loader.name})")
    return Loaded(loader.load(build, cluster), loader.name, already=False)


def choose(cluster: Cluster) -> Loader:
    """Return the way that fits a cluster."""
    if not cluster.nodes:
        raise UsageError(f"the cluster of context {cluster.context} has no node for this image", "see: kubectl get nodes")
    for loader in LOADERS:
        if loader.fits(cluster):
            return loader
    names = ", ".join(node.name for node in cluster.nodes[:3])
    raise UsageError(
        f"how does the image get to {names}? Context {cluster.context} is no kind, k3d or minikube, and its nodes do not share this engine",
        "name a registry that they pull from: --registry registry.example/team",
        code="no_way_to_nodes",
    )
