"""Every combination of values, against the schemas of versions of Kubernetes that today's kubernetes-validate has left out."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from k8s_values import COMBINATIONS, rendered
from referencing import Registry
from referencing.jsonschema import DRAFT7

OLD = "kubernetes-validate==1.24.1"
VERSIONS = ("1.20", "1.21", "1.23", "1.24")
OF_OTHERS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an older release's schemas."""
    folder = tmp_path_factory.mktemp("older")
    words = ["pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--dest", str(folder), OLD]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"LOUD SKIP: {OLD} cannot be had: {done.stderr[-300:]}")
    wanted = tuple(f"/v{version}.0-local-strict/" for version in VERSIONS)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, [entry for entry in archive if any(part in entry.name for part in wanted)], filter="data")
    return next(folder.glob("*/src/kubernetes_validate/kubernetes-json-schema"))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid_for_older_versions(version: str, schemas: Path) -> None:
    folder = schemas / f"v{version}.0-local-strict"
    definitions = DRAFT7.create_resource(json.loads((folder / "_definitions.json").read_text()))
    registry: Registry[Any] = Registry().with_resource("_definitions.json", definitions)

    def mistakes(document: dict[str, Any]) -> list[str]:
        group, _, name = document["apiVersion"].rpartition("/")
        kind = "-".join(part for part in (document["kind"].lower(), group.split(".")[0], name) if part)
        schema = json.loads((folder / f"{kind}.json").read_text())
        return [error.message for error in Draft7Validator(schema, registry=registry).iter_errors(document)]

    checked = {manifest.text: manifest.document for sets in COMBINATIONS.values() for manifest in rendered(*sets, kube_version=version)}
    found = {text: mistakes(document) for text, document in checked.items() if document["apiVersion"] not in OF_OTHERS}
    assert len(found) > 40
    assert {text: wrong for text, wrong in found.items() if wrong} == {}
    one = next(document for document in checked.values() if document["kind"] == "Deployment")
    assert "'replicaz' was unexpected" in mistakes({**one, "spec": {**one["spec"], "replicaz": 1}})[0]
