"""An image on its way: to a real registry, and to the nodes of a real cluster."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker
from noetl.errors import NoetlError
from noetl.ops import image, load_image, node, ports
from noetl.ops.builds import Build
from noetl.ops.kube_api import Api
from noetl.ops.node import Node

FAR = [Node("gke-1", "amd64", "containerd://1.7", "gce://project/zone/gke-1")]


@pytest.fixture
def small(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Build]:
    """An image of one file."""
    name = f"noetl-test/small:{secrets.token_hex(4)}"
    (tmp_path / "file").write_text(name)
    with tarfile.open(tmp_path / "small.tar", "w") as tar:
        tar.add(tmp_path / "file", "/file")
    engine.api.import_image(str(tmp_path / "small.tar"), repository=name.partition(":")[0], tag=name.partition(":")[2])
    found = engine.images.get(name)
    yield Build(name, str(found.id), "linux/amd64", "c", "t", "1", "docker engine")
    engine.images.remove(str(found.id), force=True)


def test_a_registry_is_pushed_to_once(small: Build, registry: str) -> None:
    told: list[str] = []
    first = load_image.load(small, FAR, "gke", registry=f"{registry}/team", progress=told.append)
    assert (first.way, first.already) == ("registry", False)
    assert first.build.tag == f"{registry}/team/{small.tag.rpartition('/')[2]}"
    assert first.build.digest is not None and first.build.digest.startswith("sha256:")
    assert image.digest_in_registry(first.build.reference) == first.build.digest == image.digest_in_registry(first.build.tag)
    again = load_image.load(first.build, FAR, "gke", registry=f"{registry}/team", progress=told.append)
    assert (again.already, again.build) == (True, first.build)
    assert told[-1] == f"{first.build.tag}: already there (registry)"


def test_a_registry_that_is_not_there_is_named(small: Build) -> None:
    address = f"127.0.0.1:{ports.free()}"
    with pytest.raises(NoetlError, match=rf"{address}/small:\w+ was not pushed: .*refused") as failed:
        image.push(small, registry=address)
    assert failed.value.hint.startswith(f"does this machine reach it? docker push {address}/small:")


def test_the_nodes_of_the_cluster_share_this_engine(small: Build, cluster: Api, engine: docker.DockerClient) -> None:
    nodes = [node.read(one) for one in cluster.items("/api/v1/nodes")]
    if any(one.runtime and not one.runtime.startswith("docker://") for one in nodes):
        pytest.skip(f"LOUD SKIP: the nodes run on {nodes[0].runtime}, not on this engine")
    loaded = load_image.load(small, nodes, cluster.context)
    assert (loaded.way, loaded.already, loaded.build) == ("the nodes' own engine", True, small)


def test_a_platform_that_the_nodes_are_not_is_refused_before_the_build(cluster: Api) -> None:
    architecture = node.read(cluster.items("/api/v1/nodes")[0]).architecture
    other = "arm64" if architecture == "amd64" else "amd64"
    done = subprocess.run(
        [sys.executable, "-m", "noetl.cli", "build", "--platform", f"linux/{other}"],
        env={**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    said = f"error: an image for linux/{other} cannot run on the cluster of context {cluster.context}: its nodes are linux/{architecture}"
    assert done.stderr == f"{said}. Nothing was built\n  --platform linux/{architecture}\n"
