"""Documents for tests on a real cluster: pods of a Python that is there, so that every failure is a real one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noetl.ops.kube_api import Api

IMAGE = os.environ.get("NOETL_TEST_IMAGE", "noetl-test/python:3.11")
SERVES = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"


def kubeconfig() -> str:
    """Return the kubeconfig of the cluster to test on, or skip."""
    path = os.environ.get("NOETL_TEST_KUBECONFIG")
    if not path:
        pytest.skip("LOUD SKIP: no Kubernetes cluster: set NOETL_TEST_KUBECONFIG")
    return path


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    """A connection to the cluster to test on, in a folder of the test's own, where it is pinned."""
    from noetl.ops import target

    monkeypatch.setenv("KUBECONFIG", kubeconfig())
    monkeypatch.chdir(tmp_path)
    return target.connect()


@pytest.fixture
def namespace(cluster: Api) -> Iterator[str]:
    """A namespace for this test alone."""
    name = f"noetl-test-{secrets.token_hex(4)}"
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        yield name
    finally:
        cluster.delete(f"/api/v1/namespaces/{name}")


def deployment(namespace: str, name: str = "web", *, code: str = "import time; time.sleep(3600)", **changes: Any) -> dict[str, Any]:
    """Return a Deployment of one container that runs Python code; `changes` are laid over the container, `pod` over its pod."""
    pod = changes.pop("pod", {})
    spec = changes.pop("spec", {})
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["python3", "-c", code], **changes}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **pod}}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "strategy": rolling, "template": template, **spec},
    }


def config_map(namespace: str, name: str = "settings", **data: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}
