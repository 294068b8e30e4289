"""The record of a deploy, kept in the cluster beside what was deployed: who, when, which image, and the documents, to go back to."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from noetl.errors import NotFound
from noetl.ops.kube_api import Api, Document

KEPT = 10
_LABEL = "noetl.io/revision"
_TYPE = "noetl.io/revision"

Status = Literal["deploying", "deployed", "failed", "replaced"]


@dataclass(frozen=True)
class Revision:
    """One deploy; `status` is `deploying` until it has ended, and for ever where its process was killed."""

    number: int
    who: str
    when: str
    image: str = ""
    digest: str = ""
    note: str = ""
    status: Status = "deploying"
    values: Mapping[str, Any] = field(default_factory=dict)
    documents: Sequence[Document] = ()

    def row(self) -> dict[str, Any]:
        """Return what a table shows of it."""
        shown = ("number", "status", "when", "who", "image", "digest", "note")
        return {"revision" if name == "number" else name: getattr(self, name) or None for name in shown}


def history(api: Api, namespace: str) -> list[Revision]:
    """Return the records of a namespace, the oldest first."""
    return sorted((_read(one) for one in api.items(_path(namespace), _LABEL)), key=lambda one: one.number)


def current(revisions: Sequence[Revision]) -> Revision | None:
    """Return the revision that was deployed last and came up."""
    return next((one for one in reversed(revisions) if one.status == "deployed"), None)


def chosen(revisions: Sequence[Revision], number: int | None) -> Revision:
    """Return the revision to go back to: that of the number, else the one that came up before the newest."""
    if number is not None:
        found = next((one for one in revisions if one.number == number), None)
        if found is None:
            known = ", ".join(str(one.number) for one in revisions) or "none"
            raise NotFound(f"there is no record of revision {number}; there are: {known}", "see them: inv k8s.history")
        return found
    good = [one for one in revisions if one.status in ("deployed", "replaced") and one.number != (revisions[-1].number if revisions else 0)]
    if not good:
        raise NotFound("there is no earlier revision that came up", "see them: inv k8s.history")
    return good[-1]


def begin(api: Api, namespace: str, revision: Revision) -> None:
    """Write the record of a deploy that begins."""
    api.request("POST", _path(namespace), _secret(revision))


def end(api: Api, namespace: str, revision: Revision, status: Status) -> Revision:
    """Write how a deploy ended; one that came up replaces those before it, of which the oldest records are deleted."""
    ended = replace(revision, status=status)
    _write(api, namespace, ended)
    every = history(api, namespace)
    if status == "deployed":
        for one in every:
            if one.number < revision.number and one.status == "deployed":
                _write(api, namespace, replace(one, status="replaced"))
    good = next((one.number for one in reversed(every) if one.status in ("deployed", "replaced")), None)
    for one in every[:-KEPT]:
        if one.number != good:
            api.delete(f"{_path(namespace)}/{_name(one.number)}")
    return ended


def forget(api: Api, namespace: str) -> None:
    """Delete every record of a namespace."""
    for one in api.items(_path(namespace), _LABEL):
        api.delete(f"{_path(namespace)}/{one['metadata']['name']}")


def _write(api: Api, namespace: str, revision: Revision) -> None:
    found = api.find(f"{_path(namespace)}/{_name(revision.number)}")
    if found is not None:
        api.request("PUT", f"{_path(namespace)}/{_name(revision.number)}", found | {"data": _secret(revision)["data"]})


def _secret(revision: Revision) -> Document:
    packed = gzip.compress(json.dumps(asdict(revision)).encode(), mtime=0)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": _TYPE,
        "metadata": {"name": _name(revision.number), "labels": {_LABEL: str(revision.number), "app.kubernetes.io/managed-by": "noetl"}},
        "data": {"revision": base64.b64encode(packed).decode()},
    }


def _read(secret: Document) -> Revision:
    return Revision(**json.loads(gzip.decompress(base64.b64decode(secret["data"]["revision"]))))


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


def _name(number: int) -> str:
    return f"noetl-revision-{number}"
