"""A real Docker Engine for tests, and a checkout to build images from."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import DockerException

import docker
from noetl.ops import ports

ROOT = Path(__file__).parent.parent
BASE = os.environ.get("NOETL_TEST_IMAGE", "noetl-test/python:3.11")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A Docker Engine, or a skip."""
    # The client leaves a socket open where nothing listens, and whatever test runs when that is collected would fail by it.
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        pytest.skip("LOUD SKIP: no Docker Engine here: /var/run/docker.sock is missing")
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        gc.collect()
        pytest.skip(f"LOUD SKIP: no Docker Engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """An image with Python that builds can begin from, or a skip."""
    try:
        engine.images.get(BASE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"LOUD SKIP: no image {BASE} to build upon: set NOETL_TEST_IMAGE to one with Python, venv and pip")
    return BASE


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with what images are built from."""
    folder = tmp_path_factory.mktemp("checkout") / "noetl"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
    for name in ("docker", "noetl", "examples", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in (".dockerignore", ".gitignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(folder, *words)
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on this machine, empty."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("LOUD SKIP: no docker-registry here: apt-get install docker-registry")
    address = f"127.0.0.1:{ports.free()}"
    config = tmp_path / "registry.json"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "images")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    process = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while ports.is_free("127.0.0.1", int(address.partition(":")[2])):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(10)


def git(folder: Path, *words: str) -> str:
    """Run git in a checkout and return what it prints."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@example", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True).stdout.strip()
