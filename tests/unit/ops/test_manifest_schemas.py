"""Every combination of values, against the schemas of several versions of Kubernetes."""

from __future__ import annotations

import functools

import kubernetes_validate.utils
import pytest
from k8s_values import COMBINATIONS, rendered

VERSIONS = ("1.25", "1.29", "1.33", "1.37")
NOT_KUBERNETES = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""Kinds of KEDA and of Prometheus' operator, of which Kubernetes' own schemas know nothing."""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", functools.cache(kubernetes_validate.utils.schema_contents))
    assert kubernetes_validate.utils.all_versions()[-1].startswith("1.37")
    checked = set()
    for sets in COMBINATIONS.values():
        for manifest in rendered(*sets, kube_version=version):
            if manifest.text not in checked and manifest.document["apiVersion"] not in NOT_KUBERNETES:
                assert kubernetes_validate.validate(manifest.document, version, strict=True) == version
                checked.add(manifest.text)
    assert len(checked) > 40
