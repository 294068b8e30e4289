"""The nodes of the cluster that the verbs go to, for a build that is to fit them."""

from __future__ import annotations

from noetl.errors import Unavailable
from noetl.ops import node, target
from noetl.ops.node import Node
from noetl.ops.process import Progress, quiet


def find(environment: str = "", progress: Progress = quiet) -> tuple[str, list[Node]]:
    """Return the context and the nodes of an environment's pinned target; none where nothing is pinned or it does not answer."""
    pinned = target.read(environment)
    if pinned is None:
        return "", []
    from noetl.ops.kube_api import Refused

    try:
        found = [node.read(one) for one in target.connect(environment).items("/api/v1/nodes")]
    except (Unavailable, Refused) as error:
        progress(f"the nodes of context {pinned.context} cannot be asked for their platform: {error.message}")
        return pinned.context, []
    return pinned.context, found
