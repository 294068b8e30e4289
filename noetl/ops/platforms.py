"""Which platform an image is built for: what the nodes of its cluster are, else linux/amd64."""

from __future__ import annotations

from collections.abc import Iterable

from noetl.errors import UsageError

DEFAULT = "linux/amd64"
_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}


def choose(asked: str, architectures: Iterable[str] = (), cluster: str = "the target cluster") -> str:
    """Return the platform to build for, or raise UsageError where the nodes' architectures (`amd64`, `arm64`, …) do not fit what is asked.

    Without nodes it is what is asked, else linux/amd64; with mixed nodes linux/amd64, where there is one, unless another is asked.
    """
    nodes = sorted({normal(one) for one in architectures})
    if asked:
        platform = normal(asked)
        if nodes and platform not in nodes:
            raise UsageError(
                f"an image for {platform} cannot run on {cluster}: its nodes are {', '.join(nodes)}. Nothing was built",
                " or ".join(f"--platform {one}" for one in nodes),
                code="wrong_platform",
            )
        return platform
    return DEFAULT if not nodes or DEFAULT in nodes else nodes[0]


def normal(text: str) -> str:
    """Write a platform or an architecture as `linux/ARCHITECTURE`."""
    system, _, architecture = text.strip().lower().rpartition("/")
    if "/" in system:  # linux/arm64/v8: the variant is not the node's
        system, _, architecture = system.partition("/")
    if not architecture or system not in ("", "linux"):
        raise UsageError(f"{text!r} is no platform that noetl has an image for", "--platform linux/amd64, or --platform linux/arm64")
    return f"linux/{_SAME.get(architecture, architecture)}"
