"""Every combination of values, tried by a real cluster without being applied."""

from __future__ import annotations

from pathlib import Path

import pytest
from k8s_values import BUILT, COMBINATIONS

from noetl.ops import apply
from noetl.ops.kube_api import Api
from noetl.ops.layers import load_values
from noetl.ops.manifests import render

OF_OTHERS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")


@pytest.mark.parametrize("sets", COMBINATIONS.values(), ids=COMBINATIONS)
def test_the_cluster_would_take_the_manifests(sets: tuple[str, ...], cluster: Api, namespace: str) -> None:
    version = cluster.request("GET", "/version")["gitVersion"]
    values = load_values(Path("nowhere"), None, [*sets, f"namespace={namespace}", "create_namespace=false"])
    manifests = render(values, image=BUILT, platform="linux/amd64", kube_version=version)
    documents = [manifest.document for manifest in manifests if manifest.document["apiVersion"] not in OF_OTHERS]
    changes = apply.plan(cluster, documents)
    assert {change.title for change in changes if change.action != "create"} == set()
    tried = {change.document["kind"]: change.after for change in changes if change.document["metadata"].get("namespace") == namespace}
    assert tried["Deployment"]["metadata"]["managedFields"], "the cluster has answered what it would make of it"
