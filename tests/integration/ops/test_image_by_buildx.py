"""Builds by `docker buildx`, on a real BuildKit: the plugin's where it is there, else that of the docker command and its engine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker
from noetl.errors import NoetlError
from noetl.ops import buildx, image

# `docker build` of older docker commands, by BuildKit, takes the flags of `docker buildx build`, but for --load, which it does anyway.
SHIM = """#!/bin/sh
case "$1 $2" in
  "buildx version") exit 0 ;;
  "buildx build") shift 2 ;;
  *) exit 64 ;;
esac
for word in "$@"; do
  shift
  [ "$word" = --load ] || set -- "$@" "$word"
done
DOCKER_BUILDKIT=1 exec {program} build "$@"
"""


@pytest.fixture
def by_buildx(engine: docker.DockerClient, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """See to it that `docker buildx` builds with BuildKit, and return the image to build upon; or skip."""
    if buildx.is_there():
        return base_image
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\n")
    for folder in os.environ["PATH"].split(os.pathsep):
        program = Path(folder) / "docker"
        command = [str(program), "build", "--progress=plain", "--quiet", str(tmp_path)]
        if program.exists() and not subprocess.run(command, env=os.environ | {"DOCKER_BUILDKIT": "1"}, capture_output=True).returncode:
            shim = tmp_path / "bin" / "docker"
            shim.parent.mkdir()
            shim.write_text(SHIM.format(program=program))
            shim.chmod(0o755)
            monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
            return base_image
    pytest.skip("LOUD SKIP: no docker command here builds by BuildKit")


@pytest.fixture
def dockerfile(checkout: Path) -> Iterator[Path]:
    """The checkout's Dockerfile, which is as it was after the test."""
    path = checkout / "docker" / "Dockerfile"
    before = path.read_text()
    yield path
    path.write_text(before)


def test_what_is_asked_for_is_built(by_buildx: str, checkout: Path, dockerfile: Path, engine: docker.DockerClient) -> None:
    dockerfile.write_text("ARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE} AS image\nARG WORD\nRUN echo $WORD >/word\nCMD cat /word\n")
    arguments = {"PYTHON_IMAGE": by_buildx, "WORD": "by-buildkit"}
    made, again = None, None
    try:
        told: list[str] = []
        made = image.build(checkout, build_args=arguments, network="host", no_cache=True, progress=told.append)
        assert (made.builder, made.platform) == ("docker buildx", "linux/amd64")
        assert "with docker buildx" in told[0]
        assert any(re.fullmatch(r"\[image 2/2\] RUN echo .*: \d+\.\d s", line) for line in told), "\n".join(told)
        assert engine.containers.run(made.tag, remove=True) == b"by-buildkit\n"
        again = image.build(checkout, build_args=arguments, network="host", progress=told.append)
        assert (again.tag, told[-2][-16:]) == (made.tag, ": from the cache")
        assert image.last_build(checkout) == again
    finally:
        for one in filter(None, {made and made.image_id, again and again.image_id}):
            engine.images.remove(one, force=True)


def test_what_fails_is_explained(by_buildx: str, checkout: Path, dockerfile: Path) -> None:
    before = image.last_build(checkout)
    dockerfile.write_text("ARG PYTHON_IMAGE\nFROM ${PYTHON_IMAGE} AS image\nRUN echo one; echo the reason >&2; exit 3\n")
    with pytest.raises(NoetlError) as failed:
        image.build(checkout, build_args={"PYTHON_IMAGE": by_buildx})
    assert failed.value.code == "build_failed"
    assert "2/2] RUN echo one" in failed.value.message and "the reason" in failed.value.message
    with pytest.raises(NoetlError) as failed:
        image.build(checkout, build_args={"PYTHON_IMAGE": "127.0.0.1:1/none:1"})
    assert failed.value.code == "no_base_image", failed.value.message
    assert "--build-arg PYTHON_IMAGE=NAME" in failed.value.hint
    assert image.last_build(checkout) == before
