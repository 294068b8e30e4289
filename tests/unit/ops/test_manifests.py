"""What the manifests say, whatever the values: asserted on the documents."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
from k8s_values import BUILT, COMBINATIONS, DIGEST, KEDA, OWN_POSTGRES, PUSHED, every, rendered

import noetl
from noetl.errors import NoetlError, UsageError
from noetl.ops import manifests
from noetl.ops.layers import load_values
from noetl.ops.manifests import ImageRef, Manifest, parse_version
from noetl.ops.rendered import as_text
from noetl.ops.secret_keys import wanted_secrets
from noetl.ops.values import DRAIN_SECONDS
from noetl.server.__main__ import STOP_SECONDS
from noetl.settings import read
from noetl.worker.loop import DRAIN

Json = Any
ALL = pytest.mark.parametrize("sets", COMBINATIONS.values(), ids=COMBINATIONS)


def one(found: list[Manifest], kind: str, name: str) -> dict[str, Json]:
    """Return the one document of a kind and name."""
    (document,) = [manifest.document for manifest in found if (manifest.kind, manifest.name) == (kind, name)]
    return document


def pods(found: list[Manifest]) -> list[tuple[str, dict[str, Json]]]:
    """Return the specs of all pods, each with its workload's name."""
    workloads = [manifest for manifest in found if manifest.kind in ("Deployment", "StatefulSet", "Job")]
    return [(manifest.name, manifest.document["spec"]["template"]["spec"]) for manifest in workloads]


def environ(container: dict[str, Json]) -> dict[str, Json]:
    """Return a container's variables: a value, or the Secret and key it comes from."""
    found = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {}).get("secretKeyRef")
        found[variable["name"]] = (source["name"], source["key"]) if source else variable.get("value")
    return found


def test_the_names_are_those_that_people_type() -> None:
    found = rendered("pools.gpu={}")
    names = {(manifest.kind, manifest.name) for manifest in found}
    assert names >= {
        ("Namespace", "noetl"),
        ("Deployment", "noetl-server"),
        ("Deployment", "noetl-worker"),
        ("Deployment", "noetl-worker-gpu"),
        ("StatefulSet", "noetl-postgres"),
        ("StatefulSet", "noetl-nats"),
        ("Service", "noetl-server"),
    }
    assert one(found, "Deployment", "noetl-worker-gpu")["spec"]["template"]["metadata"]["labels"]["app"] == "noetl-worker"
    assert {manifest.document["metadata"].get("namespace") for manifest in found if manifest.kind != "Namespace"} == {"noetl"}


@ALL
def test_the_same_values_give_the_same_bytes(sets: tuple[str, ...]) -> None:
    assert as_text(rendered(*sets)) == as_text(every(sets))


@ALL
def test_documents_are_named_once_and_come_in_order(sets: tuple[str, ...]) -> None:
    found = every(sets)
    keys = [(manifest.kind, manifest.document["metadata"].get("namespace"), manifest.name) for manifest in found]
    assert len(set(keys)) == len(keys)
    order = [manifests.COMPONENTS.index(manifest.component) for manifest in found]
    assert order == sorted(order)


@ALL
def test_every_pod_meets_the_restricted_standard(sets: tuple[str, ...]) -> None:
    for name, pod in pods(every(sets)):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "configMap"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["enableServiceLinks"] is False, "the name of a Service would become POSTGRES_PORT or NATS_PORT"
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "privileged": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]
            assert "memory" in container["resources"]["limits"]
            assert container["imagePullPolicy"] == "IfNotPresent"


@ALL
def test_what_serves_is_probed_and_has_time_to_stop(sets: tuple[str, ...]) -> None:
    for name, pod in pods(every(sets)):
        if name.startswith("noetl-migrate"):
            continue
        (container,) = pod["containers"]
        probes = {which: container[f"{which}Probe"] for which in ("startup", "readiness", "liveness")}
        assert all(probe["timeoutSeconds"] >= 3 for probe in probes.values()), name
        if name == "noetl-server":
            paths = {which: probe["httpGet"]["path"] for which, probe in probes.items()}
            assert paths == {"startup": "/health", "readiness": "/ready", "liveness": "/health"}
            variables = environ(container)
            assert 0 < int(variables["NOETL_LEAVE_SECONDS"]) <= int(variables["NOETL_LEAVE_LIMIT"])
            assert pod["terminationGracePeriodSeconds"] == int(variables["NOETL_LEAVE_LIMIT"]) + DRAIN_SECONDS
        assert pod["terminationGracePeriodSeconds"] > max(DRAIN, STOP_SECONDS + 2)


@ALL
def test_workloads_select_their_own_pods_and_replace_them_without_a_gap(sets: tuple[str, ...]) -> None:
    workloads = [manifest for manifest in every(sets) if manifest.kind in ("Deployment", "StatefulSet")]
    for manifest in workloads:
        spec = manifest.document["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        if manifest.kind == "Deployment":
            assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    for first, second in itertools.permutations(workloads, 2):
        selected = first.document["spec"]["selector"]["matchLabels"].items()
        assert not selected <= second.document["spec"]["template"]["metadata"]["labels"].items(), (first.name, second.name)


@ALL
def test_no_secret_value_is_rendered(sets: tuple[str, ...]) -> None:
    found = every(sets)
    for manifest in found:
        assert manifest.kind != "Secret" or not {"data", "stringData"} & manifest.document.keys()
    for _, pod in pods(found):
        for name, value in environ(pod["containers"][0]).items():
            if name.endswith(("PASSWORD", "TOKEN", "KEY")) and "QUOTED" not in name:
                assert isinstance(value, tuple), name
        words = json.dumps([container.get(part) for container in pod["containers"] for part in ("command", "args")])
        assert "TOKEN" not in words
        assert "PASSWORD" not in words


@ALL
def test_every_secret_that_pods_read_is_wanted(sets: tuple[str, ...]) -> None:
    found = every(sets)
    wanted = {(key.secret, key.key) for key in wanted_secrets(load_values(Path("nowhere"), None, sets))}
    read_by_pods = {value for _, pod in pods(found) for value in environ(pod["containers"][0]).values() if isinstance(value, tuple)}
    assert read_by_pods == wanted
    made = [manifest.document for manifest in found if manifest.kind == "Secret"]
    texts = [document["metadata"]["annotations"]["noetl.io/made-at-first-install"] for document in made]
    keys = {("noetl-secrets", entry.partition("=")[0]) for text in texts for entry in text.split(",")}
    assert keys == {(key, name) for key, name in wanted if key == "noetl-secrets"}


@ALL
def test_settings_of_servers_and_workers_can_be_read(sets: tuple[str, ...]) -> None:
    found = every(sets)
    config = one(found, "ConfigMap", "noetl-config")["data"]
    for name, pod in pods(found):
        if name.startswith(("noetl-server", "noetl-worker", "noetl-migrate")):
            variables = environ(pod["containers"][0])
            given = {key: value for key, value in variables.items() if isinstance(value, str)}
            settings = read({**config, **given})
            assert settings.log_format == "json"
            if name.startswith("noetl-worker"):
                assert settings.server_url
                assert settings.server_url.startswith("http://noetl-server:")
                assert settings.postgres is None, "a worker never touches the server's database"
            else:
                assert settings.postgres
                assert variables["NATS_URL"]
            mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
            assert any(settings.home.is_relative_to(mount) for mount in mounts)


@ALL
def test_service_accounts_have_a_token_only_where_it_is_used(sets: tuple[str, ...]) -> None:
    found = every(sets)
    accounts = {manifest.name: manifest.document for manifest in found if manifest.kind == "ServiceAccount"}
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    for name, pod in pods(found):
        assert pod["serviceAccountName"] in accounts
        assert pod["automountServiceAccountToken"] is (pod["serviceAccountName"] == "noetl-worker-jobs"), name


def test_the_rights_of_jobs_are_where_the_jobs_are() -> None:
    found = rendered("worker.jobs={enabled: true, namespace: steps}")
    assert one(found, "Role", "noetl-worker-jobs")["metadata"]["namespace"] == "steps"
    assert one(found, "RoleBinding", "noetl-worker-jobs")["subjects"][0]["namespace"] == "noetl"
    assert not [manifest for manifest in rendered() if manifest.kind in ("Role", "ClusterRole")]


def test_the_rights_of_jobs_are_what_the_worker_asks_for() -> None:
    source = (Path(noetl.__file__).parent / "tools" / "container_kubernetes.py").read_text()
    words = {"create": "create", "patch": "patch", "list": "list", "read": "get", "delete_collection": "deletecollection"}
    called = re.findall(r"\.([a-z_]+?)_namespaced_([a-z]+)(_log)?\(", source)
    asked = {(words[verb], f"{noun}s{'/log' if log else ''}") for verb, noun, log in called}
    rules = one(rendered("worker.jobs.enabled=true"), "Role", "noetl-worker-jobs")["rules"]
    assert {(verb, noun) for rule in rules for verb in rule["verbs"] for noun in rule["resources"]} == asked


def test_the_image_is_named_by_its_digest_where_a_registry_has_it() -> None:
    built, pushed = rendered(image=BUILT), rendered(image=PUSHED)
    for found, name in ((built, BUILT.tag), (pushed, f"registry.example:5000/noetl@{DIGEST}")):
        for workload in ("noetl-server", "noetl-worker"):
            template = one(found, "Deployment", workload)["spec"]["template"]
            assert template["spec"]["containers"][0]["image"] == name
            assert template["metadata"]["annotations"]["noetl.io/image-id"] == BUILT.image_id
    assert ImageRef("a/b:1", digest=f"a/b@{DIGEST}").name == f"a/b@{DIGEST}"


def test_the_platform_binds_our_own_pods_to_its_nodes() -> None:
    for name, pod in pods(rendered(platform="linux/arm64")):
        ours = name.startswith(("noetl-server", "noetl-worker", "noetl-migrate"))
        assert pod["nodeSelector"].get("kubernetes.io/arch") == ("arm64" if ours else None)
    for written in ("aarch64", "linux/arm64/v8"):
        assert rendered(platform=written) == rendered(platform="linux/arm64")
    with pytest.raises(UsageError, match="no platform that noetl has an image for"):
        rendered(platform="windows/amd64")


def test_a_change_of_config_or_secret_replaces_the_pods() -> None:
    def annotations(*sets: str, marks: dict[str, str] | None = None) -> Json:
        return one(rendered(*sets, secret_marks=marks), "Deployment", "noetl-worker")["spec"]["template"]["metadata"]["annotations"]

    assert annotations() == annotations(marks={"another": "1"})
    assert annotations() != annotations("env.NOETL_VAR_A=1")
    assert annotations(marks={"noetl-secrets": "1"}) != annotations(marks={"noetl-secrets": "2"})
    more = "worker.env_from_secrets=[cloud]"
    assert annotations(more, marks={"cloud": "1"}) != annotations(more, marks={"cloud": "2"})


def test_another_image_or_another_database_is_another_migration() -> None:
    def job(*sets: str, image: ImageRef = BUILT) -> str:
        (name,) = [manifest.name for manifest in rendered(*sets, image=image) if manifest.kind == "Job"]
        return name

    assert job() == job("server.replicas=3", "pools.gpu={}")
    assert len({job(), job(image=ImageRef("a:1")), job(image=ImageRef("a:1", image_id="x")), job(*OWN_POSTGRES)}) == 4


def test_another_image_of_ours_stops_neither_database_nor_nats() -> None:
    def services(image: ImageRef) -> list[str]:
        return [manifest.text for manifest in rendered(image=image) if manifest.kind == "StatefulSet"]

    assert len(services(BUILT)) == 2
    assert services(BUILT) == services(ImageRef("a:1", image_id="x"))


def test_an_autoscaler_alone_says_how_many_workers_there_are() -> None:
    found = rendered("worker.autoscaling.enabled=true", "pools.still.autoscaling.enabled=false", "pools.still.replicas=2")
    assert "replicas" not in one(found, "Deployment", "noetl-worker")["spec"]
    assert one(found, "Deployment", "noetl-worker-still")["spec"]["replicas"] == 2
    metric = one(found, "HorizontalPodAutoscaler", "noetl-worker")["spec"]["metrics"][0]["external"]["metric"]
    assert metric == {"name": "noetl_pool_waiting", "selector": {"matchLabels": {"pool": "default"}}}
    keda = one(rendered(*KEDA), "ScaledObject", "noetl-worker")["spec"]
    assert (keda["minReplicaCount"], keda["triggers"][0]["type"]) == (0, "postgresql")


@pytest.mark.parametrize(
    ("version", "budget", "autoscaler"),
    [
        ("1.20", "policy/v1beta1", "autoscaling/v2beta2"),
        ("v1.21.3", "policy/v1", "autoscaling/v2beta2"),
        ("1.23+", "policy/v1", "autoscaling/v2"),
    ],
)
def test_the_cluster_decides_the_versions_of_its_apis(version: str, budget: str, autoscaler: str) -> None:
    found = rendered("worker.autoscaling.enabled=true", kube_version=version)
    assert one(found, "PodDisruptionBudget", "noetl-server")["apiVersion"] == budget
    assert one(found, "HorizontalPodAutoscaler", "noetl-worker")["apiVersion"] == autoscaler


def test_a_version_that_is_none_or_too_old_is_refused() -> None:
    assert parse_version("v1.29.4-eks-1") == (1, 29)
    for text in ("new", "1.19"):
        with pytest.raises(UsageError):
            parse_version(text)


def test_postgres_and_nats_of_ones_own_are_not_made() -> None:
    found = rendered(*COMBINATIONS["own services and secret"])
    assert not [manifest for manifest in found if manifest.kind in ("StatefulSet", "Secret")]
    variables = environ(one(found, "Deployment", "noetl-server")["spec"]["template"]["spec"]["containers"][0])
    assert (variables["POSTGRES_HOST"], variables["NATS_URL"]) == ("db.example", ("ours", "NATS_URL"))


def test_network_policies_let_in_who_works_here() -> None:
    found = rendered()
    allowed = one(found, "NetworkPolicy", "noetl-postgres")["spec"]["ingress"][0]
    assert allowed["from"][0]["podSelector"]["matchExpressions"][0]["values"] == ["noetl-server", "noetl-worker", "noetl-migrate"]
    assert "from" not in one(found, "NetworkPolicy", "noetl-server")["spec"]["ingress"][0]
    assert one(found, "NetworkPolicy", "noetl-worker")["spec"]["ingress"] == []
    asked = one(rendered(*COMBINATIONS["policies"]), "NetworkPolicy", "noetl-server")["spec"]["ingress"][0]["from"]
    assert [next(iter(peer)) for peer in asked] == ["podSelector", "namespaceSelector"]


def test_a_name_that_a_template_does_not_have_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml.j2").write_text("a: 1\nb: {{ values.nothing }}\n")
    (tmp_path / "b.yaml.j2").write_text("{{ ''.__class__.__mro__ }}\n")
    environment = manifests._environment().overlay(loader=jinja2.FileSystemLoader(tmp_path))
    with pytest.raises(NoetlError, match=r"a\.yaml\.j2:2: .*nothing"):
        manifests._documents(environment, "a", {"values": load_values(tmp_path)})
    with pytest.raises(NoetlError, match=r"b\.yaml\.j2:1: .*unsafe"):
        manifests._documents(environment, "b", {})
