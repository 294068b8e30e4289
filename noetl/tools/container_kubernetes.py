"""Containers run as Kubernetes Jobs. The client costs a second to import, so this module is imported only where it is used."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from noetl.tools.base import Call, Json, ToolError
from noetl.tools.container_spec import FILES, Spec, finished, tail
from noetl.tools.leftovers import noted

_COMMAND, _RUN = "noetl.io/command", "noetl.io/run"
_PULLS = {"missing": "IfNotPresent", "always": "Always", "never": "Never"}
_NO_START = {
    "ErrImagePull": "image_not_found",
    "ImagePullBackOff": "image_not_found",
    "ErrImageNeverPull": "image_not_found",
    "InvalidImageName": "image_not_found",
    "CreateContainerConfigError": "container",
    "CreateContainerError": "container",
    "RunContainerError": "container",
}
_LOOK = 0.5
_LINES = 20_000
_GONE_WITHIN = 60.0
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
client: Any = kubernetes.client
config: Any = kubernetes.config
Api = Any
"""Of the client, which has no types."""


def run(spec: Spec, call: Call) -> Json:
    """Run a Job of one pod and delete it; one that an earlier holder of the same command has left is deleted first."""
    if unknown := [name for name in ("volumes", "network") if spec.runtime.get(name)]:
        raise ToolError(f"a Kubernetes Job takes no {' and no '.join(unknown)} here; leave it out of runtime", type="config")
    context = str(spec.runtime.get("context") or "")
    mark = uuid.uuid4().hex
    with _connected(context) as api, _explained():
        namespace = str(spec.runtime.get("namespace") or "") or _namespace(context)
        note = {"where": "kubernetes", "run": mark, "namespace": namespace, "context": context}
        with noted(call.workdir, note):
            _delete_all(api, namespace, f"{_COMMAND}={_label(call.idempotency_key)}", wait=True)
            try:
                _create(api, namespace, spec, call, mark)
                return _followed(api, namespace, spec, mark)
            finally:
                _delete_all(api, namespace, f"{_RUN}={mark}", wait=False)


def remove(note: Mapping[str, str]) -> None:
    """Delete what a run has left."""
    with _connected(note["context"]) as api:
        _delete_all(api, note["namespace"], f"{_RUN}={note['run']}", wait=False)


@contextlib.contextmanager
def _connected(context: str) -> Iterator[Api]:
    """Connect as the pod's service account, or by the kubeconfig, which is only read."""
    settings = client.Configuration()
    try:
        if context or not _NAMESPACE.exists():
            config.load_kube_config(context=context or None, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except ConfigException as error:
        raise ToolError(f"this worker knows no Kubernetes cluster: {error}; set KUBECONFIG", type="container") from error
    settings.retries = 3
    with client.ApiClient(settings) as connection:
        yield connection


def _namespace(context: str) -> str:
    if not context and _NAMESPACE.exists():
        return _NAMESPACE.read_text().strip()
    contexts, active = config.list_kube_config_contexts()
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        raise ToolError(f"Kubernetes refused: {error.status} {error.reason}: {str(error.body or '')[:300]}", type="container") from error
    except HTTPError as error:
        raise ToolError(f"Kubernetes does not answer: {error}", type="container") from error


def _create(api: Api, namespace: str, spec: Spec, call: Call, mark: str) -> None:
    """Create the Job, and Secrets with its environment and its files that go with it."""
    name = f"noetl-{mark[:20]}"
    labels = {_COMMAND: _label(call.idempotency_key), _RUN: mark, "app.kubernetes.io/managed-by": "noetl"}
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)
    secrets = {name: spec.env, **({_files(name): spec.files} if spec.files else {})}
    for secret, data in secrets.items():
        core.create_namespaced_secret(namespace, {"metadata": {"name": secret, "labels": labels}, "stringData": dict(data)})
    job = batch.create_namespaced_job(namespace, {"metadata": {"name": name, "labels": labels}, "spec": _job(spec, call, name, labels)})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.metadata.uid}
    for secret in secrets:
        core.patch_namespaced_secret(secret, namespace, {"metadata": {"ownerReferences": [owner]}})


def _files(name: str) -> str:
    return f"{name}-files"


def _job(spec: Spec, call: Call, name: str, labels: Mapping[str, str]) -> dict[str, Json]:
    limits = {"memory": str(spec.memory) if spec.memory else None, "cpu": f"{math.ceil(spec.cpu * 1000)}m" if spec.cpu else None}
    container: dict[str, Json] = {
        "name": "step",
        "image": spec.image,
        "imagePullPolicy": _PULLS[spec.pull],
        "command": spec.command or None,
        "args": spec.args or None,
        "workingDir": spec.workdir or None,
        "envFrom": [{"secretRef": {"name": name}}],
        "resources": {"limits": {key: value for key, value in limits.items() if value}},
        "volumeMounts": [{"name": "files", "mountPath": FILES, "readOnly": True}] if spec.files else None,
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": bool(spec.runtime.get("service_account")),
        "serviceAccountName": spec.runtime.get("service_account"),
        "volumes": [{"name": "files", "secret": {"secretName": _files(name)}}] if spec.files else None,
        "containers": [{key: value for key, value in container.items() if value is not None}],
    }
    return {
        "backoffLimit": 0,
        "activeDeadlineSeconds": math.ceil(call.timeout) + 5,
        "ttlSecondsAfterFinished": 300,
        "template": {"metadata": {"labels": dict(labels)}, "spec": {key: value for key, value in pod.items() if value is not None}},
    }


def _followed(api: Api, namespace: str, spec: Spec, mark: str) -> Json:
    """Wait for the pod's end; the worker ends this process at its time limit."""
    core = client.CoreV1Api(api)
    while True:
        pods = core.list_namespaced_pod(namespace, label_selector=f"{_RUN}={mark}").items
        for pod in pods:
            state = pod.status.container_statuses[0].state if pod.status.container_statuses else None
            if state is not None and state.waiting is not None and state.waiting.reason in _NO_START:
                reason = f"{state.waiting.reason}: {state.waiting.message or ''}".strip(": ")
                raise ToolError(f"the container of {spec.image} does not start: {reason}", type=_NO_START[state.waiting.reason])
            if pod.status.phase in ("Succeeded", "Failed"):
                return _ended(core, namespace, spec, pod, state.terminated if state is not None else None)
        time.sleep(_LOOK)


def _ended(core: Api, namespace: str, spec: Spec, pod: Api, end: Api) -> Json:
    output = b""
    if end is not None:
        answer = core.read_namespaced_pod_log(pod.metadata.name, namespace, tail_lines=_LINES, _preload_content=False)
        output = answer.data
    result = {
        "exit_code": None if end is None else end.exit_code,
        "stdout": tail(output),
        "stderr": "",
        "image": spec.image,
        "provider": "kubernetes",
    }
    if end is None:
        return finished(spec, result, str(pod.status.reason or "no exit code"))
    return finished(spec, result, "out of memory" if end.reason == "OOMKilled" else "")


def _delete_all(api: Api, namespace: str, selector: str, *, wait: bool) -> None:
    """Delete Jobs with their pods, and Secrets; with `wait`, return when no such pod is left."""
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)
    batch.delete_collection_namespaced_job(namespace, label_selector=selector, propagation_policy="Background")
    core.delete_collection_namespaced_secret(namespace, label_selector=selector)
    core.delete_collection_namespaced_pod(namespace, label_selector=selector, grace_period_seconds=0 if not wait else 1)
    deadline = time.monotonic() + _GONE_WITHIN
    while wait and core.list_namespaced_pod(namespace, label_selector=selector).items:
        if time.monotonic() > deadline:
            raise ToolError("the pod of an earlier call of this step is still there after a minute", type="container")
        time.sleep(_LOOK)


def _label(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
