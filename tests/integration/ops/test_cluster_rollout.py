"""On a real cluster: everything that keeps a pod from coming up, provoked, and what is said of it."""

from __future__ import annotations

import contextlib
import secrets
import struct
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kube import IMAGE, SERVES, config_map, deployment

import docker
from noetl.ops import apply, rollout
from noetl.ops.kube_api import Api, Document
from noetl.ops.rollout import NotComing


def put(api: Api, *documents: Document) -> None:
    for one in apply.plan(api, documents):
        apply.perform(api, one)


def watch(api: Api, *documents: Document, timeout: float = 60) -> list[str]:
    lines: list[str] = []
    put(api, *documents)
    rollout.watch(api, documents, timeout=timeout, progress=lines.append)
    return lines


def failure(api: Api, *documents: Document, timeout: float = 60) -> NotComing:
    with pytest.raises(NotComing) as raised:
        watch(api, *documents, timeout=timeout)
    return raised.value


def test_what_comes_up_is_shown_and_what_is_up_returns_at_once(cluster: Api, namespace: str) -> None:
    lines = watch(cluster, deployment(namespace, spec={"replicas": 2}))
    assert lines[-1] == "deployment/web: up, 2 ready of 2"
    assert watch(cluster, deployment(namespace, spec={"replicas": 2})) == ["deployment/web: up, 2 ready of 2"]


def test_an_image_that_is_not_there_and_old_pods_still_serve(cluster: Api, namespace: str) -> None:
    watch(cluster, deployment(namespace))
    began = time.monotonic()
    error = failure(cluster, deployment(namespace, image="noetl-test/none:1"))
    assert error.details["cause"] == "image not found: noetl-test/none:1"
    assert 'Container image "noetl-test/none:1" is not present' in error.details["evidence"]
    assert "1 of its former pods still serve" in error.message
    assert error.hint.startswith("build it and bring it there: inv k8s.redeploy")
    assert time.monotonic() - began < 20


def test_a_crash(cluster: Api, namespace: str) -> None:
    error = failure(cluster, deployment(namespace, code="import sys; print('reading settings'); sys.exit('no database here')"))
    assert error.details["cause"].startswith("it crashes: exit code 1")
    assert error.details["evidence"] == "reading settings\nno database here" or "no database here" in error.details["evidence"]
    assert "--previous" in error.hint


def test_out_of_memory(cluster: Api, namespace: str) -> None:
    resources = {"limits": {"memory": "32Mi"}, "requests": {"cpu": "10m"}}
    # Without a probe it would count as up in the moment between its start and its end.
    probe = {"exec": {"command": ["false"]}}
    error = failure(cluster, deployment(namespace, code="x = b'x' * (1 << 28)", resources=resources, readinessProbe=probe))
    assert error.details["cause"] == "out of memory"
    assert error.details["evidence"] == "container main was killed; its limit is 32Mi"


def reference(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"name": "X", "valueFrom": {kind: {"name": name, "key": "password"}}}]


def test_a_missing_secret_a_missing_key_and_a_missing_config(cluster: Api, namespace: str) -> None:
    error = failure(cluster, deployment(namespace, "one", env=reference("secretKeyRef", "access")))
    assert error.details["cause"] == "there is no secret access"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "access", "namespace": namespace}, "data": {"user": "eA=="}}
    error = failure(cluster, secret, deployment(namespace, "two", env=reference("secretKeyRef", "access")))
    assert error.details["cause"] == "Secret access has no key password"
    assert f"kubectl -n {namespace} edit secret access" in error.hint
    error = failure(cluster, config_map(namespace), deployment(namespace, "three", env=reference("configMapKeyRef", "settings")))
    assert error.details["cause"] == "ConfigMap settings has no key password"
    mounts = {"volumes": [{"name": "v", "secret": {"secretName": "elsewhere"}}]}
    error = failure(cluster, deployment(namespace, "four", pod=mounts, volumeMounts=[{"name": "v", "mountPath": "/v"}]))
    assert error.details["cause"] == "there is no secret elsewhere"


def test_what_might_still_come_up_by_itself_is_waited_for_first(cluster: Api, namespace: str) -> None:
    def quota() -> NotComing:
        hard = {"requests.memory": "1Ki"}
        document = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": other}, "spec": {"hard": hard}}
        put(cluster, document)
        while "hard" not in cluster.find(cluster.path(document)).get("status", {}):
            time.sleep(0.2)
        return failure(Api(cluster.context), deployment(other, resources={"requests": {"memory": "1Mi"}}))

    def room() -> NotComing:
        return failure(Api(cluster.context), deployment(namespace, "room", resources={"requests": {"cpu": "500"}}))

    def architecture() -> NotComing:
        pod = {"nodeSelector": {"kubernetes.io/arch": "s390x"}}
        return failure(Api(cluster.context), deployment(namespace, "architecture", pod=pod))

    def probe() -> NotComing:
        probe = {"httpGet": {"path": "/missing", "port": 8000}, "periodSeconds": 1}
        document = deployment(namespace, "probe", code=SERVES, readinessProbe=probe)
        put(cluster, document)
        fails = f"/api/v1/namespaces/{namespace}/events"
        while not any(one["reason"] == "Unhealthy" and one["involvedObject"]["name"].startswith("probe-") for one in cluster.items(fails)):
            time.sleep(0.2)
        return failure(Api(cluster.context), document, timeout=0)

    def volume() -> NotComing:
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "golden", "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": namespace}, "spec": spec}
        pod = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
        mounted = deployment(namespace, "volume", pod=pod, volumeMounts=[{"name": "v", "mountPath": "/v"}])
        return failure(Api(cluster.context), claim, mounted, timeout=90)

    def pull() -> NotComing:
        return failure(Api(cluster.context), deployment(namespace, "pull", image="127.0.0.1:1/none:1", imagePullPolicy="IfNotPresent"))

    def killed() -> NotComing:
        probe = {"httpGet": {"path": "/missing", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1}
        return failure(Api(cluster.context), deployment(namespace, "killed", code=SERVES, startupProbe=probe), timeout=100)

    other = f"{namespace}-quota"
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    try:
        with ThreadPoolExecutor(8) as threads:
            working = {work.__name__: threads.submit(work) for work in (quota, room, architecture, probe, volume, pull, killed)}
            found = {name: work.result() for name, work in working.items()}
    finally:
        cluster.delete(f"/api/v1/namespaces/{other}")
    assert {name: error.details["cause"] for name, error in found.items()} == {
        "quota": "the namespace's quota small is used up",
        "room": "no node has room for it: not enough cpu",
        "architecture": "no node fits kubernetes.io/arch=s390x",
        "probe": "its probe fails",
        "volume": "its volume is not provided",
        "pull": "image not found: 127.0.0.1:1/none:1 cannot be pulled",
        "killed": "it is killed because its probe fails",
    }
    evidence = {name: error.details["evidence"] for name, error in found.items()}
    assert "requested: requests.memory=1Mi, used: requests.memory=0, limited: requests.memory=1Ki" in evidence["quota"]
    assert evidence["room"].startswith("it asks for cpu 500; 0/")
    assert "HTTP probe failed with statuscode: 404" in evidence["probe"]
    assert evidence["volume"] == 'storageclass.storage.k8s.io "golden" not found'
    assert "connection refused" in evidence["pull"]
    assert "Startup probe failed: " in evidence["killed"]
    assert "--platform linux/ARCH" in found["architecture"].hint


def test_a_program_that_the_image_has_not(cluster: Api, namespace: str) -> None:
    error = failure(cluster, deployment(namespace, command=["noetl-of-another-image"]))
    assert error.details["cause"] == f"the image {IMAGE} has no such program"


@pytest.fixture
def foreign(engine: docker.DockerClient, tmp_path: Path) -> Iterator[str]:
    """An image whose one program is of a machine that this is not: its kernel refuses to run it."""
    # Itanium, which no emulator that may be registered with this kernel knows.
    elf = struct.pack("<4sBBBBQHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, 50, 1, 0x400000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    (tmp_path / "program").write_bytes(elf + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120, 120, 4096))
    (tmp_path / "program").chmod(0o755)
    name = f"noetl-test/foreign:{secrets.token_hex(4)}"
    with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
        tar.add(tmp_path / "program", "/program")
    engine.api.import_image(str(tmp_path / "foreign.tar"), repository=name.partition(":")[0], tag=name.partition(":")[2])
    yield name
    with contextlib.suppress(docker.errors.APIError):  # a pod that is still ending has it
        engine.images.remove(name, force=True)


def test_an_image_of_another_architecture(cluster: Api, namespace: str, foreign: str) -> None:
    runtimes = {one["status"]["nodeInfo"]["containerRuntimeVersion"].partition(":")[0] for one in cluster.items("/api/v1/nodes")}
    if runtimes != {"docker"}:
        pytest.skip(f"LOUD SKIP: the nodes run on {', '.join(sorted(runtimes))}, not on this engine: the image is not there")
    watch(cluster, deployment(namespace))
    probe = {"httpGet": {"path": "/", "port": 8000}}
    error = failure(cluster, deployment(namespace, image=foreign, command=["/program"], readinessProbe=probe))
    assert error.details["cause"] == f"wrong architecture: {foreign} is not built for this node"
    assert "exec format error" in error.details["evidence"]
    assert "1 of its former pods still serve" in error.message
    assert "--platform linux/ARCH" in error.hint


def test_a_job_is_waited_for_and_one_that_fails_is_explained(cluster: Api, namespace: str) -> None:
    def job(name: str, code: str) -> Document:
        template = deployment(namespace, code=code)["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        meta = {"name": name, "namespace": namespace}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"backoffLimit": 0, "template": template}}

    assert watch(cluster, job("good", "print(1)"))[-1] == "job/good: done"
    error = failure(cluster, job("bad", "raise SystemExit('the schema is newer than this version')"))
    assert error.details["cause"] == "it crashes: exit code 1"
    assert error.details["evidence"] == "the schema is newer than this version"


def test_a_stateful_set_gets_over_a_pod_that_never_came_up(cluster: Api, namespace: str) -> None:
    def stateful(image: str) -> Document:
        made = deployment(namespace, "store", image=image)
        made["spec"].pop("strategy")
        return made | {"kind": "StatefulSet", "spec": made["spec"] | {"serviceName": "store"}}

    failure(cluster, stateful("noetl-test/none:1"))
    lines = watch(cluster, stateful(IMAGE))
    assert "pod/store-0: never came up, made anew" in lines
    assert lines[-1] == "statefulset/store: up, 1 ready of 1"
