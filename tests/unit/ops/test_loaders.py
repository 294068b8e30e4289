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


class Commands:
    """Records commands, and answers those that ask with an image's id."""

    def __init__(self, there: str = "") -> None:
        self.there = there
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(" ".join(command))
        if "crictl" in command:
            if not self.there:
                raise NoetlError("no such image")
            return json.dumps({"status": {"id": self.there}})
        if "ls" in command:
            return json.dumps([{"id": self.there.removeprefix("sha256:"), "repoTags": ["docker.io/library/noetl:1"]}])
        return ""


@pytest.mark.parametrize(
    ("nodes", "context", "way", "command"),
    [
        (KIND, "renamed", "kind", "kind load docker-image noetl:1 --name dev --nodes dev-control-plane,dev-worker"),
        ([Node("dev-control-plane", "amd64")], "kind-dev", "kind", "kind load docker-image noetl:1 --name dev --nodes dev-control-plane"),
        (K3D, "k3d-my-dev", "k3d", "k3d image import noetl:1 --cluster my-dev"),
        (K3D, "renamed", "k3d", "k3d image import noetl:1 --cluster my-dev"),
        (MINIKUBE, "minikube", "minikube", "minikube --profile mini image load noetl:1"),
    ],
)
def test_what_the_nodes_are_decides_the_way(nodes: list[Node], context: str, way: str, command: str) -> None:
    commands = Commands()
    loaded = load_image.load(BUILD, nodes, context, run=commands)
    assert (loaded.way, loaded.already, loaded.build) == (way, False, BUILD)
    assert commands.commands[-1] == command


@pytest.mark.parametrize(("nodes", "way"), [(KIND, "kind"), (K3D, "k3d"), (MINIKUBE, "minikube")])
def test_what_is_there_is_not_loaded_again(nodes: list[Node], way: str) -> None:
    commands = Commands(there="sha256:abc")
    loaded = load_image.load(BUILD, nodes, "any", run=commands)
    assert (loaded.way, loaded.already) == (way, True)
    assert not [one for one in commands.commands if " load " in one or " import " in one]
    assert not load_image.load(BUILD, nodes, "any", run=Commands(there="sha256:older")).already


def test_nodes_that_share_the_engine_need_nothing() -> None:
    here = [Node("node1", "amd64", "docker://20.10", boot_id=base.this_boot())]
    assert load_image.load(BUILD, here, "any", run=Commands()).already
    elsewhere = Cluster("any", (Node("node1", "amd64", "docker://20.10", boot_id="another"),), boot_id=base.this_boot())
    with pytest.raises(UsageError, match="how does the image get to node1"):
        load_image.choose(elsewhere)


def test_where_no_way_leads_to_a_registry_is_asked_for() -> None:
    with pytest.raises(UsageError) as refused:
        load_image.load(BUILD, GKE, "gke", run=Commands())
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
