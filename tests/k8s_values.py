"""Combinations of values that the manifests have to be right for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from noetl.ops.layers import load_values
from noetl.ops.manifests import ImageRef, Manifest, render
from noetl.ops.values import Values

DIGEST = "sha256:" + "a" * 64
BUILT = ImageRef("registry.example:5000/noetl:1.0.0-abc", image_id="sha256:" + "b" * 64)
PUSHED = ImageRef("registry.example:5000/noetl:1.0.0-abc", image_id="sha256:" + "b" * 64, digest=DIGEST)
OWN_POSTGRES = (
    "postgres.host=db.example",
    "secret.keys.POSTGRES_PASSWORD={name: our-database, key: password}",
    "secret.keys.PLAYBOOKS_POSTGRES_PASSWORD={name: our-database, key: playbooks}",
)
KEDA = ("worker.autoscaling.enabled=true", "worker.autoscaling.kind=keda", "worker.autoscaling.min=0")
COMBINATIONS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "two pools": ("pools.gpu={pool: GPU_1, slots: 2}", "pools.gpu.node_selector={accelerator: a100}", "pools.batch.replicas=3"),
    "own postgres": OWN_POSTGRES,
    "own postgres without playbooks": (*OWN_POSTGRES[:2], "postgres.playbooks=null"),
    "own nats": ("nats.url=nats://nats.example:4222",),
    "own services and secret": ("postgres.host=db.example", "nats.url_in_secret=true", "secret.existing=ours"),
    "hpa": ("worker.autoscaling.enabled=true", "pools.gpu.autoscaling.max=3"),
    "keda on postgres": KEDA,
    "keda on nats": (*KEDA, "worker.autoscaling.trigger=nats"),
    "jobs here": ("worker.jobs.enabled=true",),
    "jobs elsewhere": ("pools.steps.jobs={enabled: true, namespace: noetl-steps}",),
    "monitored": ("monitoring.service_monitor=true", "monitoring.dashboard=true", "monitoring.labels={release: prometheus}"),
    "no policies": ("network_policy.enabled=false", "create_namespace=false", "namespace=workflows"),
    "policies": ("network_policy.server_from=[{namespaceSelector: {matchLabels: {team: data}}}]",),
    "placed": (
        "server.replicas=3",
        "server.tolerations=[{key: dedicated, operator: Equal, value: noetl, effect: NoSchedule}]",
        "postgres.affinity={nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms:"
        " [{matchExpressions: [{key: disk, operator: In, values: [ssd]}]}]}}}",
        "postgres.storage={size: 100Gi, class_name: fast}",
        "nats.storage.chown=true",
        "pull_secrets=[registry]",
    ),
    "reached from outside": (
        "server.service={type: LoadBalancer, port: 80}",
        "server.port=9000",
        "server.service.annotations={a.b/c: 'yes'}",
    ),
    "variables": ("env={NOETL_VAR_REGION: eu, LIMIT: 5}", "worker.env_from_secrets=[cloud]", "server.env={PGSSLMODE: require}"),
}


@functools.cache
def _values(sets: tuple[str, ...]) -> Values:
    return load_values(Path("nowhere"), None, sets)


@functools.cache
def every(sets: tuple[str, ...]) -> list[Manifest]:
    """Render a combination once for all who only look at it."""
    return rendered(*sets)


def rendered(*sets: str, image: ImageRef = BUILT, platform: str | None = None, kube_version: str = "1.37", **more: Any) -> list[Manifest]:
    """Render single values laid over the defaults."""
    return render(_values(sets), image=image, platform=platform, kube_version=kube_version, **more)
