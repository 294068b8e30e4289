"""On a real cluster: deploys as a whole, their records, going back, Ctrl-C, removing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from kube import config_map, deployment

from noetl.errors import Conflict, NoetlError, UsageError
from noetl.ops import cluster as deploys
from noetl.ops import lease, revision
from noetl.ops.cluster import Deployed, Options
from noetl.ops.kube_api import Api, Document
from noetl.ops.rollout import NotComing

OPTIONS = Options(timeout=60)


def deploy(api: Api, namespace: str, documents: list[Document], **options: Any) -> Deployed:
    return deploys.deploy(api, namespace, deploys.prepared(documents, image="noetl:1"), replace(OPTIONS, **options))


def statuses(api: Api, namespace: str) -> list[tuple[int, str, str]]:
    return [(one.number, one.status, one.note) for one in revision.history(api, namespace)]


def versions(api: Api, namespace: str) -> dict[str, str]:
    """What was written where: every object's version but those that pods write by themselves."""
    found = {}
    for path in ("/api/v1/namespaces/{}/secrets", "/api/v1/namespaces/{}/configmaps", "/apis/apps/v1/namespaces/{}/replicasets"):
        for one in api.items(path.format(namespace)):
            found[one["metadata"]["name"]] = one["metadata"]["resourceVersion"]
    return found


def test_a_deploy_a_second_that_changes_nothing_and_one_that_changes(cluster: Api, namespace: str) -> None:
    documents = [deployment(namespace), config_map(namespace, key="1")]
    first = deploy(cluster, namespace, documents)
    assert first == Deployed(1, ["configmap/settings", "deployment/web"])
    assert lease.holder(cluster, namespace) == ""
    before = versions(cluster, namespace)
    assert deploy(cluster, namespace, documents) == Deployed(1)
    assert versions(cluster, namespace) == before
    assert deploy(cluster, namespace, [config_map(namespace, key="2")]) == Deployed(2, ["configmap/settings"], ["deployment/web"])
    assert statuses(cluster, namespace) == [(1, "replaced", ""), (2, "deployed", "")]


def test_what_does_not_come_up_makes_place_for_what_did(cluster: Api, namespace: str) -> None:
    deploy(cluster, namespace, [deployment(namespace, env=[{"name": "A", "value": "1"}]), config_map(namespace, key="1")])
    said: list[str] = []
    with pytest.raises(NotComing) as raised:
        broken = [deployment(namespace, image="noetl-test/none:1"), config_map(namespace, key="2")]
        deploy(cluster, namespace, broken, roll_back=True, progress=said.append)
    assert "image not found: noetl-test/none:1" in raised.value.message
    assert "1 of its former pods still serve" in raised.value.message
    assert raised.value.message.endswith("revision 1 is back, as revision 3")
    assert statuses(cluster, namespace) == [
        (1, "replaced", ""),
        (2, "failed", ""),
        (3, "deployed", "back to revision 1, after revision 2 did not come up"),
    ]
    assert cluster.find(cluster.path(config_map(namespace)))["data"] == {"key": "1"}
    assert said[-1] == "deployment/web: up, 1 ready of 1"


def test_without_going_back_the_old_pods_serve_and_the_next_deploy_mends_it(cluster: Api, namespace: str) -> None:
    with pytest.raises(NotComing) as raised:
        deploy(cluster, namespace, [deployment(namespace, image="noetl-test/none:1")], roll_back=True)
    assert raised.value.message.endswith("it stays as it is: there is no earlier revision to go back to")
    assert deploy(cluster, namespace, [deployment(namespace)]).revision == 2
    with pytest.raises(NotComing):
        deploy(cluster, namespace, [deployment(namespace, image="noetl-test/none:1")])
    assert cluster.find(cluster.path(deployment(namespace)))["status"]["readyReplicas"] == 1
    assert deploys.rollback(cluster, namespace, None, OPTIONS).revision == 4
    assert statuses(cluster, namespace)[-1] == (4, "deployed", "back to revision 2")


def test_going_back_to_a_number(cluster: Api, namespace: str) -> None:
    for key in "abc":
        deploy(cluster, namespace, [config_map(namespace, key=key)])
    deploys.rollback(cluster, namespace, 1, OPTIONS)
    assert cluster.find(cluster.path(config_map(namespace)))["data"] == {"key": "a"}
    assert deploys.rollback(cluster, namespace, None, OPTIONS).revision == 5
    assert cluster.find(cluster.path(config_map(namespace)))["data"] == {"key": "c"}


def test_after_an_interruption_nothing_is_locked_and_the_next_deploy_works(cluster: Api, namespace: str) -> None:
    documents = [deployment(namespace), config_map(namespace, key="1")]

    def interrupt(line: str) -> None:
        if line.startswith("deployment/web: "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(cluster, namespace, documents, progress=interrupt)
    assert lease.holder(cluster, namespace) == ""
    assert statuses(cluster, namespace) == [(1, "failed", "interrupted")]
    assert deploy(cluster, namespace, documents).revision == 2
    assert statuses(cluster, namespace)[-1] == (2, "deployed", "")


def test_of_two_deploys_at_once_one_is_told_who_is_at_it(cluster: Api, namespace: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(line: str) -> None:
        begun.set()
        go_on.wait(30)

    first = threading.Thread(target=deploy, args=(cluster, namespace, [config_map(namespace, key="1")]), kwargs={"progress": hold})
    first.start()
    assert begun.wait(30)
    with pytest.raises(Conflict, match=r"is locked by .* for deploy, since"):
        deploy(Api(cluster.context), namespace, [config_map(namespace, key="2")])
    go_on.set()
    first.join()
    assert cluster.find(cluster.path(config_map(namespace)))["data"] == {"key": "1"}


def test_a_platform_that_no_node_has_is_refused_before_anything(cluster: Api, namespace: str) -> None:
    with pytest.raises(UsageError) as refused:
        deploy(cluster, namespace, [config_map(namespace), deployment(namespace, pod={"nodeSelector": {"kubernetes.io/arch": "riscv64"}})])
    assert "deployment/web is for linux/riscv64, and no node is" in refused.value.message
    assert refused.value.exit_code == 2 and "--platform linux/" in refused.value.hint
    assert cluster.find(cluster.path(config_map(namespace))) is None and statuses(cluster, namespace) == []


def test_a_job_is_waited_for_before_what_runs_on_what_it_did(cluster: Api, namespace: str) -> None:
    def job(code: str) -> Document:
        template = deployment(namespace, code=code)["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        meta = {"name": f"migrate-{len(code)}", "namespace": namespace}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"backoffLimit": 0, "template": template}}

    said: list[str] = []
    deploy(cluster, namespace, [deployment(namespace), job("1")], progress=said.append)
    assert said.index("job/migrate-1: done") < said.index("deployment/web: created")
    with pytest.raises(NotComing, match="job/migrate-19"):
        deploy(cluster, namespace, [deployment(namespace, image="noetl-test/none:1"), job("raise SystemExit(1)")])
    assert sorted(deploy(cluster, namespace, [deployment(namespace), job("22")]).deleted) == ["job/migrate-1", "job/migrate-19"]
    assert "job/migrate-1" not in deploys.rollback(cluster, namespace, 1, OPTIONS).changed


def stateful(namespace: str) -> Document:
    made = deployment(namespace, "store", volumeMounts=[{"name": "data", "mountPath": "/data"}])
    made["spec"].pop("strategy")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claims = [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim}]
    return made | {"kind": "StatefulSet", "spec": made["spec"] | {"serviceName": "store", "volumeClaimTemplates": claims}}


def test_removing_keeps_the_data_unless_told_otherwise(cluster: Api, namespace: str) -> None:
    annotations = {"noetl.io/made-at-first-install": "PASSWORD=token"}
    meta = {"name": "noetl-secrets", "namespace": namespace, "annotations": annotations}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"}
    documents = [secret, stateful(namespace), config_map(namespace)]
    path = f"/api/v1/namespaces/{namespace}/secrets/noetl-secrets"
    deploy(cluster, namespace, documents)
    password = cluster.find(path)["data"]
    assert set(password) == {"PASSWORD"}
    removed, stays = deploys.remove(cluster, namespace, OPTIONS)
    assert removed == ["statefulset/store", "configmap/settings"]
    assert stays == ["persistentvolumeclaim/data-store-0", "secret/noetl-secrets"]
    with pytest.raises(NoetlError, match="nothing was deployed"):
        deploys.remove(cluster, namespace, OPTIONS)
    assert deploy(cluster, namespace, documents).revision == 1
    assert cluster.find(path)["data"] == password
    removed, stays = deploys.remove(cluster, namespace, OPTIONS, volumes=True)
    assert removed[-2:] == ["persistentvolumeclaim/data-store-0", "secret/noetl-secrets"] and stays in (
        [],
        ["persistentvolumeclaim/data-store-0"],
    )
    time.sleep(1)
    assert cluster.find(path) is None
