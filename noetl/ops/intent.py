"""What is to be deployed: values and an image become documents, for the cluster that they go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import noetl
from noetl.errors import UsageError
from noetl.ops import cluster, layers, load_image, manifests, node, revision
from noetl.ops.builds import Build, last_build
from noetl.ops.kube_api import Api
from noetl.ops.manifests import ImageRef
from noetl.ops.platforms import normal
from noetl.ops.process import Progress, quiet
from noetl.ops.revision import Revision
from noetl.ops.secret_keys import SECRET, wanted_secrets
from noetl.ops.values import Values


@dataclass(frozen=True)
class Intent:
    """Where it goes, and the record of it that is to be made."""

    values: Values
    revision: Revision

    @property
    def namespace(self) -> str:
        """Return the namespace."""
        return self.values.namespace


def form(
    api: Api,
    environment: str,
    sets: Sequence[str],
    *,
    image: str = "",
    platform: str = "",
    kube_version: str = "",
    build: Build | None = None,
    registry: str = "",
    bring: bool = True,
    progress: Progress = quiet,
) -> Intent:
    """Return what is to be deployed, its image brought to the nodes unless told otherwise.

    The image is the one that is named, else `build`, else the last build of this checkout, else the one that is deployed now.
    """
    values = layers.load_values(layers.FOLDER, environment or None, sets)
    built = None if image else build or last_build(Path(noetl.__file__).parent.parent)
    if built is not None:
        on = normal(platform) if platform else built.platform
        if on != built.platform:
            raise UsageError(f"{built.tag} is for {built.platform}, not {on}", f"inv k8s.redeploy --platform {on}", code="wrong_platform")
        if bring:
            built = _brought(api, built, registry, progress)
        chosen = ImageRef(built.tag, built.image_id, built.digest or "")
    else:
        chosen, on = _named(api, values.namespace, image), platform
    rendered = manifests.render(
        values,
        image=chosen,
        platform=on or None,
        kube_version=kube_version or cluster.kube_version(api),
        secret_marks=secret_marks(api, values),
    )
    documents = [one.document for one in rendered]
    record = cluster.prepared(documents, image=chosen.name, digest=chosen.digest or chosen.image_id, values=values.model_dump(mode="json"))
    return Intent(values, record)


def secret_marks(api: Api, values: Values) -> dict[str, str]:
    """Return for each Secret of somebody else that pods read what changes with it. The one that is made here never changes."""
    pools = values.pools.values()
    names = {one.secret for one in wanted_secrets(values)} | set(values.server.env_from_secrets)
    names |= {name for pool in pools for name in pool.env_from_secrets}
    found = {name: api.find(f"/api/v1/namespaces/{values.namespace}/secrets/{name}") for name in names - {SECRET}}
    return {name: str(secret["metadata"]["resourceVersion"]) for name, secret in found.items() if secret is not None}


def _named(api: Api, namespace: str, image: str) -> ImageRef:
    if image:
        return manifests.parse_image(image)
    deployed = revision.current(revision.history(api, namespace)) if api.find(f"/api/v1/namespaces/{namespace}") else None
    if deployed is None:
        raise UsageError(
            "which image? Nothing was built here, and nothing is deployed yet", "inv k8s.redeploy, or: inv k8s.deploy --image NAME:TAG"
        )
    image_id = deployed.digest if "@" not in deployed.image else ""
    named = manifests.parse_image(deployed.image)
    return ImageRef(named.tag, image_id, named.digest)


def _brought(api: Api, build: Build, registry: str, progress: Progress) -> Build:
    nodes = [node.read(one) for one in api.items("/api/v1/nodes")]
    fitting = [one for one in nodes if normal(one.architecture) == build.platform]
    if nodes and not fitting:
        there = sorted({normal(one.architecture) for one in nodes})
        raise UsageError(
            f"{build.tag} is for {build.platform}, and the nodes are {', '.join(there)}. Nothing was changed",
            " or ".join(f"inv k8s.redeploy --platform {one}" for one in there),
            code="wrong_platform",
        )
    return load_image.load(build, fitting, api.context, registry=registry, progress=progress).build
