"""How an image gets to nodes: the way is chosen by what the nodes are. kind, k3d and minikube are fakes here: none of them runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from noetl.errors import NoetlError, UsageError
from noetl.ops import load_image, node
from noetl.ops.builds import Build
from noetl.ops.loaders import base
from noetl.ops.loaders.base import Cluster
from noetl.ops.node import Node

BUILD = Build("noetl:1", "sha256:abc", "linux/amd64", "c", "t", "1", "docker engine")
KIND = [
    Node("dev-control-plane", "amd64", "containerd://1.7", "kind://docker/dev/dev-control-plane"),
    Node("dev-worker", "amd64", "containerd://1.7", "kind://docker/dev/dev-worker"),
]
K3D = [Node("k3d-my-dev-server-0", "amd64", "containerd://1.7", "k3s://k3d-my-dev-server-0")]
MINIKUBE = [Node("minikube", "amd64", "docker://27", labels={"minikube.k8s.io/name": "mini"}, boot_id="another")]
GKE = [Node("gke-1", "amd64", "containerd://1.7", "gce://project/zone/gke-1")]


LISTED = "minikube --profile mini image ls --format json"


def inspected(node: Node, program: str = "docker") -> str:
    return f"{program} exec {node.name} crictl inspecti --output json noetl:1"


def with_crictl(image_id: str) -> str:
    return json.dumps({"status": {"id": image_id, "repoTags": ["docker.io/library/noetl:1"]}})


def with_minikube(image_id: str) -> str:
    others = [{"id": "0" * 64, "repoDigests": [], "repoTags": ["registry.k8s.io/pause:3.9"], "size": "742000"}]
    return json.dumps([*others, {"id": image_id.removeprefix("sha256:"), "repoDigests": [], "repoTags": ["noetl:1"], "size": "1"}])


class Programs:
    """The commands that the programs understand, each with its answer, None where it fails; another one is a mistake."""

    def __init__(self, answers: dict[str, str | None]) -> None:
        self.answers = answers
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        assert all(" " not in word for word in command)
        self.commands.append(" ".join(command))
        answer = self.answers[self.commands[-1]]
        if answer is None:
            raise NoetlError(f"{command[0]}: exit code 1")
        return answer


ONE_KIND = [Node("dev-control-plane", "amd64")]
PODMAN = [Node("p-control-plane", "amd64", "containerd://1.7", "kind://podman/p/p-control-plane")]


@pytest.mark.parametrize(
    ("nodes", "context", "way", "asks", "load"),
    [
        (KIND, "renamed", "kind", inspected(KIND[0]), "kind load docker-image noetl:1 --name dev --nodes dev-control-plane,dev-worker"),
        (ONE_KIND, "kind-dev", "kind", inspected(KIND[0]), "kind load docker-image noetl:1 --name dev --nodes dev-control-plane"),
        (PODMAN, "kind-p", "kind", inspected(PODMAN[0], "podman"), "kind load docker-image noetl:1 --name p --nodes p-control-plane"),
        (K3D, "k3d-my-dev", "k3d", inspected(K3D[0]), "k3d image import noetl:1 --cluster my-dev"),
        (K3D, "renamed", "k3d", inspected(K3D[0]), "k3d image import noetl:1 --cluster my-dev"),
        (MINIKUBE, "minikube", "minikube", LISTED, "minikube --profile mini image load noetl:1"),
    ],
)
@pytest.mark.parametrize("there", ["nothing", "another", "no JSON"])
def test_what_the_nodes_are_decides_the_way(nodes: list[Node], context: str, way: str, asks: str, load: str, there: str) -> None:
    other = with_minikube("sha256:older") if way == "minikube" else with_crictl("sha256:older")
    programs = Programs({asks: {"nothing": None, "another": other, "no JSON": "W1126 warning"}[there], load: ""})
    loaded = load_image.load(BUILD, nodes, context, run=programs)
    assert (loaded.way, loaded.already, loaded.build) == (way, False, BUILD)
    assert programs.commands == [asks, load]


@pytest.mark.parametrize(
    ("nodes", "way", "answers"),
    [
        (KIND, "kind", {inspected(one): with_crictl("sha256:abc") for one in KIND}),
        (K3D, "k3d", {inspected(one): with_crictl("sha256:abc") for one in K3D}),
        (MINIKUBE, "minikube", {LISTED: with_minikube("sha256:abc")}),
    ],
)
def test_what_is_there_is_not_loaded_again(nodes: list[Node], way: str, answers: dict[str, str | None]) -> None:
    programs = Programs(answers)
    loaded = load_image.load(BUILD, nodes, "any", run=programs)
    assert (loaded.way, loaded.already) == (way, True)
    assert programs.commands == list(answers)


def test_a_node_that_lacks_what_others_have_gets_it() -> None:
    load = "kind load docker-image noetl:1 --name dev --nodes dev-control-plane,dev-worker"
    programs = Programs({inspected(KIND[0]): with_crictl("sha256:abc"), inspected(KIND[1]): None, load: ""})
    assert not load_image.load(BUILD, KIND, "any", run=programs).already
    assert programs.commands == [inspected(KIND[0]), inspected(KIND[1]), load]


def test_what_a_program_says_when_it_fails_is_raised() -> None:
    load = "k3d image import noetl:1 --cluster my-dev"
    with pytest.raises(NoetlError, match="k3d: exit code 1"):
        load_image.load(BUILD, K3D, "any", run=Programs({inspected(K3D[0]): None, load: None}))


def test_nodes_that_share_the_engine_need_nothing() -> None:
    here = [Node("node1", "amd64", "docker://20.10", boot_id=base.this_boot())]
    assert load_image.load(BUILD, here, "any", run=Programs({})).already
    elsewhere = Cluster("any", (Node("node1", "amd64", "docker://20.10", boot_id="another"),), boot_id=base.this_boot())
    with pytest.raises(UsageError, match="how does the image get to node1"):
        load_image.choose(elsewhere)


def test_where_no_way_leads_to_a_registry_is_asked_for() -> None:
    with pytest.raises(UsageError) as refused:
        load_image.load(BUILD, GKE, "gke", run=Programs({}))
    assert refused.value.hint.endswith("--registry registry.example/team")
    assert load_image.choose(Cluster("kind-dev", tuple(KIND), registry="registry.example/team")).name == "registry"
    with pytest.raises(UsageError, match="has no node for this image"):
        load_image.load(BUILD, [], "empty")


def test_a_program_that_is_missing_or_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="kind is not installed"):
        load_image.load(BUILD, KIND, "kind-dev")
    program = tmp_path / "kind"
    program.write_text("#!/bin/sh\necho 'ERROR: no nodes found' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(NoetlError, match="exit code 1: ERROR: no nodes found"):
        load_image.load(BUILD, KIND, "kind-dev")


def test_a_node_is_read_from_its_document() -> None:
    document = {
        "metadata": {"name": "a", "labels": {"kubernetes.io/arch": "arm64"}},
        "spec": {"providerID": "kind://docker/dev/a"},
        "status": {"nodeInfo": {"architecture": "arm64", "containerRuntimeVersion": "containerd://1.7", "bootID": "b"}},
    }
    found = Node("a", "arm64", "containerd://1.7", "kind://docker/dev/a", "b", {"kubernetes.io/arch": "arm64"})
    assert node.read(document) == found
    assert node.read({"metadata": {"name": "a", "labels": {"kubernetes.io/arch": "arm64"}}}).architecture == "arm64"
