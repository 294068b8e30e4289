"""Manifests as text, and as files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noetl import __version__
from noetl.errors import UsageError
from noetl.ops.manifests import COMPONENTS, Manifest

_HEAD = "# Rendered by noetl"


def as_text(manifests: Sequence[Manifest]) -> str:
    """Return the manifests as one YAML text."""
    return "".join(f"---\n{manifest.text}" for manifest in manifests)


def as_list(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return the manifests as one document, which kubectl takes too."""
    return {"apiVersion": "v1", "kind": "List", "items": [manifest.document for manifest in manifests]}


def write(manifests: Sequence[Manifest], folder: Path) -> list[Path]:
    """Write a file for each component, in an order that `kubectl apply -f FOLDER` keeps, and return the files.

    Components rendered here before that are no longer there are taken away; files of anybody else stay, and stop the rendering where
    they have a component's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for number, component in enumerate(COMPONENTS):
        if mine := [manifest for manifest in manifests if manifest.component == component]:
            texts[folder / f"{number:02}-{component}.yaml"] = f"{_HEAD} {__version__}: change the values, not this file.\n{as_text(mine)}"
    for path in texts:
        if path.exists() and not _is_ours(path):
            raise UsageError(f"{path} is there and was not rendered by noetl", "render into another folder: -o DIR")
    for path in folder.glob("[0-9][0-9]-*.yaml"):
        if path not in texts and path.stem[3:] in COMPONENTS and _is_ours(path):
            path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(_HEAD)
