"""The tag of an image: the same content has the same one, another content another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from noetl import __version__
from noetl.errors import UsageError
from noetl.ops import builds, platforms, source
from noetl.ops.builds import Build


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "docker").mkdir(parents=True)
    (folder / "docker" / "Dockerfile").write_text("FROM scratch\n")
    (folder / ".gitignore").write_text(".noetl/\n.noetl_last_build_tag.txt\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_tag_is_version_and_commit_and_what_differs(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    clean = source.read(checkout)
    assert (clean.commit, clean.difference, clean.tag) == (commit, "", f"{__version__}-{commit[:10]}")
    new = checkout / "new.py"
    new.write_text("x = 1\n")
    dirty = source.tag_of(checkout)
    assert dirty.startswith(f"{__version__}-{commit[:10]}-dirty.")
    new.write_text("x = 2\n")
    other = source.tag_of(checkout)
    new.write_text("x = 1\n")
    assert other != dirty == source.tag_of(checkout)
    new.chmod(0o755)
    assert source.tag_of(checkout) != dirty
    new.unlink()
    (checkout / "docker" / "Dockerfile").write_text("FROM other\n")
    changed = source.tag_of(checkout)
    git(checkout, "add", ".")
    assert changed == source.tag_of(checkout) != clean.tag


def test_what_is_ignored_is_no_difference(checkout: Path) -> None:
    clean = source.tag_of(checkout)
    build = Build("noetl:1", "sha256:1", "linux/amd64", "c", "t", "1", "docker engine")
    assert builds.last_build(checkout) is None
    builds.record(checkout, build)
    assert builds.last_build(checkout) == build
    assert (checkout / ".noetl_last_build_tag.txt").read_text() == "noetl:1\n"
    with (checkout / ".noetl" / "builds.jsonl").open("a") as file:
        file.write('{"tag": "half')
    assert builds.last_build(checkout) == build
    assert source.tag_of(checkout) == clean
    assert git(checkout, "status", "--short") == ""


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no docker/Dockerfile"):
        source.read(tmp_path)
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(UsageError, match="git cannot tell which commit"):
        source.read(tmp_path)


@pytest.mark.parametrize(
    ("asked", "nodes", "platform"),
    [
        ("", [], "linux/amd64"),
        ("arm64", [], "linux/arm64"),
        ("linux/arm64/v8", [], "linux/arm64"),
        ("", ["arm64", "arm64"], "linux/arm64"),
        ("", ["arm64", "amd64"], "linux/amd64"),
        ("linux/aarch64", ["arm64", "amd64"], "linux/arm64"),
    ],
)
def test_the_nodes_decide_the_platform(asked: str, nodes: list[str], platform: str) -> None:
    assert platforms.choose(asked, nodes) == platform


def test_a_platform_that_no_node_has_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        platforms.choose("linux/arm64", ["amd64"], "the cluster of context kind-a")
    assert (refused.value.exit_code, refused.value.hint) == (2, "--platform linux/amd64")
    assert "its nodes are linux/amd64. Nothing was built" in refused.value.message
    with pytest.raises(UsageError, match="no platform that noetl has an image for"):
        platforms.choose("windows/amd64")


@pytest.mark.parametrize(
    ("tag", "digest", "repository", "reference"),
    [
        ("noetl:1", None, "noetl", "noetl:1"),
        ("localhost:5000/a/noetl:1", "sha256:f", "localhost:5000/a/noetl", "localhost:5000/a/noetl@sha256:f"),
        ("localhost:5000/noetl", None, "localhost:5000/noetl", "localhost:5000/noetl"),
    ],
)
def test_a_build_names_its_image(tag: str, digest: str | None, repository: str, reference: str) -> None:
    build = Build(tag, "sha256:1", "linux/amd64", "c", "t", "1", "b", digest)
    assert (build.repository, build.reference) == (repository, reference)
