"""The `container` tool: a container of an image, run to its end by a Docker Engine or as a Kubernetes Job."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from noetl.tools.base import Call, Json, ToolError
from noetl.tools.container_spec import Provider, spec_of

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_PROVIDERS = {
    "docker": "noetl.tools.container_docker",
    "kubernetes": "noetl.tools.container_kubernetes",
    "k8s": "noetl.tools.container_kubernetes",
}


def run(call: Call) -> Json:
    """Run the container that `runtime` describes, where its `provider` says: in a cluster as a Job, else by a Docker Engine."""
    runtime = call.config.get("runtime")
    if not isinstance(runtime, Mapping):
        raise ToolError("runtime is a mapping: runtime: {image: NAME:TAG, command: [...]}", type="config")
    name = str(runtime.get("provider") or runtime.get("type") or "auto").lower()
    if name == "auto":
        name = "kubernetes" if _IN_CLUSTER.is_file() else "docker"
    if name not in _PROVIDERS:
        raise ToolError(f"there is no provider {name!r} of containers; there is auto, docker, kubernetes", type="config")
    return cast(Provider, importlib.import_module(_PROVIDERS[name])).run(spec_of(call, runtime), call)
