"""Which image is rendered, and into which files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from k8s_values import DIGEST, rendered

from noetl.errors import UsageError
from noetl.ops import manifests
from noetl.ops.builds import Build, record
from noetl.ops.manifests import ImageRef, image_to_render, parse_image
from noetl.ops.rendered import write


def test_images_are_read_by_tag_and_digest() -> None:
    assert parse_image("localhost:5000/noetl:1.0-dirty.ab12") == ImageRef("localhost:5000/noetl:1.0-dirty.ab12")
    assert parse_image(f"r.example/noetl@{DIGEST}").name == f"r.example/noetl@{DIGEST}"
    for text in ("", "a b", "-x", f"a@{DIGEST[:20]}"):
        with pytest.raises(UsageError):
            parse_image(text)


def test_the_last_build_is_rendered_unless_an_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none was built in") as caught:
        image_to_render("", "", tmp_path)
    assert "inv build" in caught.value.hint
    assert image_to_render("a/b:1", "linux/arm64", tmp_path) == (ImageRef("a/b:1"), "linux/arm64")
    build = Build("noetl:1.0-abc", "sha256:b", "linux/amd64", "abc", "2030-01-01T00:00:00Z", "1.0", "docker")
    record(tmp_path, build)
    assert image_to_render("", "", tmp_path) == (ImageRef("noetl:1.0-abc", "sha256:b"), "linux/amd64")
    record(tmp_path, replace(build, digest=DIGEST))
    assert image_to_render("", "linux/amd64", tmp_path)[0].name == f"noetl@{DIGEST}"
    assert image_to_render("", "x86_64", tmp_path)[1] == "linux/amd64"
    with pytest.raises(UsageError, match="is for linux/amd64, not linux/arm64"):
        image_to_render("", "linux/arm64", tmp_path)


def test_files_are_one_a_component_and_leave_others_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    many = write(rendered("monitoring.dashboard=true"), tmp_path)
    assert {path.stem[3:] for path in many} == set(manifests.COMPONENTS) - {"autoscaling"}
    few = write(rendered(), tmp_path)
    assert set(tmp_path.iterdir()) == {*few, tmp_path / "mine.yaml"}
    few[0].write_text("mine")
    with pytest.raises(UsageError, match="not rendered by noetl"):
        write(rendered(), tmp_path)
