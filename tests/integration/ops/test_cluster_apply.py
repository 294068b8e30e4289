"""On a real cluster: the target, the lock, what would change, changing it, the records, the secrets that are made once."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from kube import config_map, deployment

from noetl.errors import Conflict, NoetlError, UsageError
from noetl.ops import apply, generated, lease, revision, target
from noetl.ops.kube_api import Api, Document, Refused, kubeconfig
from noetl.ops.revision import Revision


def apply_all(api: Api, documents: list[Document], **options: Any) -> list[str]:
    changes = apply.plan(api, documents, **options)
    return [one.title for one in changes if apply.perform(api, one, **options)]


def versions(api: Api, documents: list[Document]) -> list[str]:
    return [api.find(api.path(one))["metadata"]["resourceVersion"] for one in documents]


def test_a_pinned_context_that_leads_elsewhere_is_refused(cluster: Api) -> None:
    before = Path(kubeconfig()).read_bytes()
    pinned = target.read()
    assert pinned is not None and (pinned.context, pinned.url) == (cluster.context, cluster.url)
    assert pinned.uid == target.uid(cluster)
    moved = {"": {"context": pinned.context, "url": "https://10.0.0.1:6443", "uid": "another"}}
    target.FILE.write_text(json.dumps(moved))
    with pytest.raises(UsageError) as refused:
        target.connect()
    assert "now leads to another cluster: pinned is https://10.0.0.1:6443 (UID another)" in refused.value.message
    assert refused.value.hint == f"if you mean the new one: inv k8s.target --context {pinned.context}"
    target.pin(pinned.context)
    assert target.connect().url == pinned.url
    assert Path(kubeconfig()).read_bytes() == before


def test_each_environment_has_its_target(cluster: Api) -> None:
    target.pin(cluster.context, "staging")
    assert target.read("staging") == target.read("")
    assert target.read("production") is None
    with pytest.raises(UsageError, match="has no context 'nowhere'"):
        target.pin("nowhere", "production")


def test_the_lock(cluster: Api, namespace: str) -> None:
    with lease.held(cluster, namespace, "deploy"):
        assert lease.holder(cluster, namespace).startswith(f"{lease.owner()}, for deploy, since ")
        with pytest.raises(Conflict) as refused, lease.held(cluster, namespace, "rollback"):
            pytest.fail("two hold it")
        assert refused.value.message.startswith(f"namespace {namespace} is locked by {lease.owner()}, for deploy, since ")
        assert f"-n {namespace} delete lease noetl-deploy" in refused.value.hint
    assert lease.holder(cluster, namespace) == ""
    with pytest.raises(KeyboardInterrupt), lease.held(cluster, namespace, "deploy"):
        raise KeyboardInterrupt
    assert lease.holder(cluster, namespace) == ""


HOLDS = """
import sys, time
from noetl.ops import lease
from noetl.ops.kube_api import Api
api = Api(sys.argv[1])
sys.stderr.write("begins\\n")
with lease.held(api, sys.argv[2], "deploy"):
    sys.stderr.write("holds\\n")
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["begins", "holds"])
def test_signals_one_upon_another_leave_no_lock(cluster: Api, namespace: str, moment: str, number: signal.Signals) -> None:
    for nth in range(4):
        with subprocess.Popen([sys.executable, "-c", HOLDS, cluster.context, namespace], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(moment in line for line in process.stderr)
            time.sleep(nth * 0.01)
            while process.poll() is None:
                process.send_signal(number)
                time.sleep(0.002)
            assert process.returncode
        assert lease.holder(cluster, namespace) == ""


def test_a_lock_is_renewed_while_it_is_held_and_taken_over_when_it_has_run_out(cluster: Api, namespace: str) -> None:
    with lease.held(cluster, namespace, "deploy", seconds=2):
        time.sleep(3)
        assert lease.holder(cluster, namespace)
    left = {
        "metadata": {"name": lease.NAME},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 1, "renewTime": "2020-01-01T00:00:00.000000Z"},
    }
    cluster.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", left)
    with lease.held(cluster, namespace, "deploy"):
        assert lease.owner() in lease.holder(cluster, namespace)


def test_of_two_at_once_one_gets_the_lock(cluster: Api, namespace: str) -> None:
    got: list[str] = []
    done = threading.Barrier(4)

    def take() -> None:
        try:
            with lease.held(Api(cluster.context), namespace, "deploy"):
                got.append("held")
                done.wait(20)
        except Conflict:
            got.append("refused")
            done.wait(20)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(got) == ["held", "refused", "refused", "refused"]


def test_nothing_changed_writes_nothing(cluster: Api, namespace: str) -> None:
    documents = [deployment(namespace), config_map(namespace, key="1")]
    assert apply.difference(apply.plan(cluster, documents)).count("(in the cluster)") == 2
    assert cluster.find(cluster.path(documents[0])) is None
    assert apply_all(cluster, documents) == ["configmap/settings", "deployment/web"]
    before = versions(cluster, documents[1:])
    assert apply_all(cluster, documents) == []
    assert apply.difference(apply.plan(cluster, documents)) == ""
    assert versions(cluster, documents[1:]) == before


def test_a_change_is_shown_and_made(cluster: Api, namespace: str) -> None:
    apply_all(cluster, [config_map(namespace, key="1", other="x")])
    changes = apply.plan(cluster, [config_map(namespace, key="2")])
    shown = apply.difference(changes)
    assert "-  key: '1'" in shown and "+  key: '2'" in shown and "-  other: x" in shown
    for change in changes:
        apply.perform(cluster, change)
    assert cluster.find(cluster.path(config_map(namespace)))["data"] == {"key": "2"}


def test_the_values_of_secrets_are_not_shown(cluster: Api, namespace: str) -> None:
    def secret(value: str) -> Document:
        data = {"changed": base64.b64encode(value.encode()).decode(), "same": base64.b64encode(b"canary").decode()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}, "type": "Opaque", "data": data}

    apply_all(cluster, [secret("canary-1")])
    shown = apply.difference(apply.plan(cluster, [secret("canary-2")]))
    assert "-  changed: '***'" in shown and "+  changed: '*** (new)'" in shown and "same: '***'" in shown
    assert not any(base64.b64encode(one).decode() in shown for one in (b"canary", b"canary-1", b"canary-2"))


def test_what_never_changes_is_explained_and_nothing_is_deleted(cluster: Api, namespace: str) -> None:
    document = deployment(namespace)
    apply_all(cluster, [document])
    uid = cluster.find(cluster.path(document))["metadata"]["uid"]
    other = deployment(namespace)
    other["spec"]["selector"]["matchLabels"] = other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(NoetlError) as refused:
        apply.plan(cluster, [config_map(namespace, key="1"), other])
    assert refused.value.code == "immutable"
    assert (
        "deployment/web: Kubernetes never changes spec.selector of what exists. Nothing was changed, nothing deleted"
        in refused.value.message
    )
    assert f"-n {namespace} delete deployment web --cascade=orphan" in refused.value.hint
    assert cluster.find(cluster.path(document))["metadata"]["uid"] == uid
    assert cluster.find(cluster.path(config_map(namespace))) is None


def test_what_a_manifest_no_longer_says_is_taken_away(cluster: Api, namespace: str) -> None:
    probe = {"exec": {"command": ["true"]}}
    hook = {"preStop": {"exec": {"command": ["true"]}}, "postStart": {"exec": {"command": ["true"]}}}
    ports = [{"containerPort": 8000, "name": "http"}]
    apply_all(
        cluster, [deployment(namespace, lifecycle=hook, readinessProbe=probe, ports=ports, pod={"securityContext": {"runAsUser": 7}})]
    )
    without = deployment(namespace, lifecycle={"postStart": hook["postStart"]}, ports=ports, env=[{"name": "A", "value": "1"}])
    shown = apply.difference(apply.plan(cluster, [without]))
    assert "-          preStop:" in shown and "-        readinessProbe:" in shown and "+        - name: A" in shown
    assert apply_all(cluster, [without]) == ["deployment/web"]
    pod = cluster.find(cluster.path(without))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (list(container["lifecycle"]), container["env"], pod.get("securityContext")) == (
        ["postStart"],
        [{"name": "A", "value": "1"}],
        {},
    )
    assert "readinessProbe" not in container
    assert apply_all(cluster, [without]) == []


def test_a_field_of_somebody_else_is_named(cluster: Api, namespace: str) -> None:
    apply_all(cluster, [config_map(namespace, key="1")])
    path = cluster.path(config_map(namespace))
    cluster.request("PATCH", path, {"data": {"key": "9"}}, content="application/merge-patch+json", fieldManager="somebody")
    with pytest.raises(Conflict) as refused:
        apply.plan(cluster, [config_map(namespace, key="2")])
    assert "configmap/settings: somebody else has set what the manifests set too: .data.key" in refused.value.message
    assert "somebody" in refused.value.message and "--take-over" in refused.value.hint
    assert apply_all(cluster, [config_map(namespace, key="2")], take_over=True) == ["configmap/settings"]


def test_a_mistake_is_refused_before_anything_is_written(cluster: Api, namespace: str) -> None:
    with pytest.raises(NoetlError, match="deployment/web: the cluster would refuse it"):
        apply.plan(cluster, [config_map(namespace, key="1"), deployment(namespace, imagePullPolicy="Sometimes")])
    assert cluster.find(cluster.path(config_map(namespace))) is None
    unknown = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x", "namespace": namespace}}
    with pytest.raises(NoetlError, match=r"does not know ScaledObject of keda.sh/v1alpha1"):
        apply.plan(cluster, [unknown])


def test_a_job_is_made_anew_where_it_changed_and_not_run_again_where_it_did_not(cluster: Api, namespace: str) -> None:
    def job(code: str) -> Document:
        template = deployment(namespace, code=code)["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        meta = {"name": "migrate", "namespace": namespace}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"backoffLimit": 0, "template": template}}

    assert apply_all(cluster, [job("1")]) == ["job/migrate"]
    first = cluster.find(cluster.path(job("1")))["metadata"]["uid"]
    assert apply_all(cluster, [job("1")]) == []
    assert apply_all(cluster, [job("2")]) == ["job/migrate"]
    assert cluster.find(cluster.path(job("2")))["metadata"]["uid"] != first
    cluster.delete(cluster.path(job("2")))
    assert apply.plan(cluster, [job("2")], done=[job("2")])[0].action == "keep"


def test_what_is_gone_from_the_manifests(cluster: Api, namespace: str) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": namespace}}
    before = [deployment(namespace), config_map(namespace), claim]
    gone, kept = apply.surplus(before, [config_map(namespace, key="2")])
    assert [apply.title(one) for one in gone] == ["deployment/web"]
    assert [apply.title(one) for one in kept] == ["persistentvolumeclaim/data"]
    apply_all(cluster, [deployment(namespace)])
    said: list[str] = []
    assert apply.remove(cluster, gone, said.append) == ["deployment/web"]
    assert apply.remove(cluster, gone, said.append) == []
    assert said == ["deployment/web: deleted"]


def test_ten_records_are_kept_and_the_last_good_one(cluster: Api, namespace: str) -> None:
    documents = [config_map(namespace, key="1")]
    for number in range(1, 14):
        one = Revision(number, "me", "now", image=f"noetl:{number}", documents=documents)
        revision.begin(cluster, namespace, one)
        revision.end(cluster, namespace, one, "deployed" if number < 3 else "failed")
    found = revision.history(cluster, namespace)
    assert [one.number for one in found] == [2, *range(4, 14)]
    assert found[0].documents == documents
    assert found[0].status == "deployed"
    assert revision.current(found) == found[0] == revision.chosen(found, None)
    assert revision.chosen(found, 7).image == "noetl:7"
    with pytest.raises(NoetlError, match="there is no record of revision 3; there are: 2, 4,"):
        revision.chosen(found, 3)
    with pytest.raises(Refused):
        revision.begin(cluster, namespace, found[0])


def test_secrets_are_made_once(cluster: Api, namespace: str) -> None:
    def secret(keys: str) -> Document:
        meta = {"name": generated.NAME, "namespace": namespace, "annotations": {generated.MARK: keys}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"}

    wanted = generated.wanted([config_map(namespace), secret("NOETL_ENCRYPTION_KEY=key,NATS_TOKEN=token")])
    assert wanted == {"NOETL_ENCRYPTION_KEY": "key", "NATS_TOKEN": "token"}
    assert generated.complete(cluster, namespace, wanted) == ["NOETL_ENCRYPTION_KEY", "NATS_TOKEN"]
    data = cluster.find(f"/api/v1/namespaces/{namespace}/secrets/noetl-secrets")["data"]
    assert len(base64.b64decode(base64.b64decode(data["NOETL_ENCRYPTION_KEY"]))) == 32
    assert generated.complete(cluster, namespace, wanted) == []
    assert generated.complete(cluster, namespace, {**wanted, "MORE": "token"}) == ["MORE"]
    apply_all(cluster, [secret("NOETL_ENCRYPTION_KEY=key")])
    after = cluster.find(f"/api/v1/namespaces/{namespace}/secrets/noetl-secrets")["data"]
    assert {key: after[key] for key in data} == data and set(after) == {*data, "MORE"}
