"""Documents and what is in the cluster: what would change, by the cluster's own dry run, and changing it. Nothing with data is deleted."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import yaml

from noetl.errors import Conflict, NoetlError
from noetl.ops import dropped
from noetl.ops.kube_api import FIELD_MANAGER, Api, Document, Refused

_ORDER = (
    "Namespace",
    "ResourceQuota",
    "LimitRange",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "NetworkPolicy",
    "Service",
    "StatefulSet",
    "Job",
    "Deployment",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
)
KEPT = ("Namespace", "PersistentVolumeClaim", "Secret", "StatefulSet", "CustomResourceDefinition")
"""Kinds that are never deleted because a document is gone: they hold data, or others' things."""
_NOISE = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
_APPLY = "application/apply-patch+yaml"
_PATCH = "application/strategic-merge-patch+json"
_GONE_WITHIN = 60.0

Action = Literal["create", "change", "replace", "keep"]


@dataclass(frozen=True)
class Change:
    """What a document does to the cluster: `before` and `after` are the object as it is and as it would be.

    `first` is a patch that takes away what an apply would leave empty behind.
    """

    document: Document
    action: Action
    before: Document | None
    after: Document
    first: Document = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The object's kind and name."""
        return title(self.document)


def title(document: Document) -> str:
    """Return an object's kind and name, as they are typed: deployment/noetl-server."""
    return f"{str(document['kind']).lower()}/{document['metadata']['name']}"


def ordered(documents: Iterable[Document]) -> list[Document]:
    """Sort documents so that what others need comes first."""
    return sorted(documents, key=lambda one: _rank(one["kind"]))


def after(kind: str, other: str) -> bool:
    """Tell whether objects of a kind come after those of another."""
    return _rank(kind) > _rank(other)


def plan(api: Api, documents: Iterable[Document], *, take_over: bool = False, done: Sequence[Document] = ()) -> list[Change]:
    """Ask the cluster what each document would change, without changing anything; what it would refuse is raised, explained.

    `done` are documents of Jobs that have run, which the cluster may have cleaned away since.
    """
    missing: set[str] = set()
    changes = []
    for document in ordered(documents):
        before = api.find(api.path(document))
        namespace = str(document["metadata"].get("namespace") or "")
        if before is None and document["kind"] == "Job" and document in done:
            changes.append(Change(document, "keep", None, document))
        elif before is None and (document["kind"] == "Namespace" or namespace in missing or not _exists(api, namespace)):
            # The cluster tries nothing in a namespace that is not there.
            missing.add(document["metadata"]["name"] if document["kind"] == "Namespace" else namespace)
            changes.append(Change(document, "create", None, document))
        else:
            changes.append(_tried(api, document, before, take_over))
    return changes


def perform(api: Api, change: Change, *, take_over: bool = False) -> bool:
    """Make a change; tell whether anything was written."""
    if change.action == "keep":
        return False
    if change.action == "replace":
        _replace(api, change.document)
    else:
        if change.first:
            _patch(api, change.document, change.first, dry_run=False)
        _apply(api, change.document, take_over=take_over, dry_run=False)
    return True


def surplus(before: Iterable[Document], now: Iterable[Document]) -> tuple[list[Document], list[Document]]:
    """Return the documents of a former deploy that are no longer wanted: those to delete, and those that are kept all the same."""
    wanted = {_identity(one) for one in now}
    gone = [one for one in before if _identity(one) not in wanted]
    return [one for one in reversed(ordered(gone)) if one["kind"] not in KEPT], [one for one in gone if one["kind"] in KEPT]


def remove(api: Api, documents: Iterable[Document], progress: Callable[[str], None]) -> list[str]:
    """Delete the objects of documents, in the order given, and return what was there."""
    removed = []
    for document in documents:
        if api.delete(api.path(document)):
            removed.append(title(document))
            progress(f"{title(document)}: deleted")
    return removed


def difference(changes: Iterable[Change]) -> str:
    """Show changes as a unified diff, the values of Secrets masked."""
    parts: list[str] = []
    for change in changes:
        if change.action == "keep":
            continue
        before, after = masked(change.before or {}, change.after)
        lines = difflib.unified_diff(
            _lines(before), _lines(after), f"{change.title} (in the cluster)", f"{change.title} (to come)", lineterm=""
        )
        parts += lines
    return "\n".join(parts)


def masked(before: Document, after: Document) -> tuple[Document, Document]:
    """Return two states of an object without what changes by itself, and without a Secret's values, which only show that they differ."""
    return _hidden(_plain(before), {}), _hidden(_plain(after), _plain(before))


def _tried(api: Api, document: Document, before: Document | None, take_over: bool) -> Change:
    try:
        after = _apply(api, document, take_over=take_over, dry_run=True)
    except Refused as error:
        if error.status == 409 and error.causes:
            raise _taken(document, error) from error
        if error.status == 422 and before is not None:
            if document["kind"] == "Job":
                return Change(document, "replace", before, document)
            if change := _emptied(api, document, before):
                return change
            raise _immutable(api, document, error) from error
        raise NoetlError(f"{title(document)}: the cluster would refuse it: {error.said}", error.hint or "nothing was changed") from error
    if before is None:
        return Change(document, "create", None, after)
    return Change(document, "keep" if _plain(before) == _plain(after) else "change", before, after)


def _emptied(api: Api, document: Document, before: Document) -> Change | None:
    """Try a document without what the one before had and it has not: an apply alone would leave empty structures, which are refused."""
    fields = dropped.owned(before, FIELD_MANAGER)
    first = dropped.patch(fields, document)
    if not first:
        return None
    try:
        after = _patch(api, document, dropped.patch(fields, document, whole=True), dry_run=True)
    except Refused:
        return None
    return Change(document, "change", before, after, first)


def _patch(api: Api, document: Document, patch: Document, *, dry_run: bool) -> Document:
    found: Document = api.request(
        "PATCH", api.path(document), patch, content=_PATCH, fieldManager=FIELD_MANAGER, dryRun="All" if dry_run else None
    )
    return found


def _apply(api: Api, document: Document, *, take_over: bool, dry_run: bool) -> Document:
    found: Document = api.request(
        "PATCH",
        api.path(document),
        document,
        content=_APPLY,
        fieldManager=FIELD_MANAGER,
        force="true" if take_over else None,
        dryRun="All" if dry_run else None,
    )
    return found


def _replace(api: Api, document: Document) -> None:
    """Delete a Job, which has no data, and create it as it is now."""
    path = api.path(document)
    api.delete(path)
    deadline = time.monotonic() + _GONE_WITHIN
    while api.find(path) is not None:
        if time.monotonic() > deadline:
            raise NoetlError(f"{title(document)} is still there a minute after it was deleted", "look at its finalizers")
        time.sleep(0.5)
    _apply(api, document, take_over=False, dry_run=False)


def _exists(api: Api, namespace: str) -> bool:
    return not namespace or api.find(f"/api/v1/namespaces/{namespace}") is not None


def _taken(document: Document, error: Refused) -> NoetlError:
    fields = [f"{one.get('field', '?')} ({str(one.get('message', '')).removeprefix('conflict with ')})" for one in error.causes]
    return Conflict(
        f"{title(document)}: somebody else has set what the manifests set too: {'; '.join(fields)}. Nothing was changed",
        "to set it to what the manifests say: --take-over; to leave it to the others, take it out of the values",
    )


def _immutable(api: Api, document: Document, error: Refused) -> NoetlError:
    fields = [str(one["field"]) for one in error.causes if one.get("field")]
    kind, name = str(document["kind"]), str(document["metadata"]["name"])
    namespace = str(document["metadata"].get("namespace") or "default")
    kubectl = f"kubectl --context {api.context} -n {namespace}"
    if "immutable" not in error.said and "updates to" not in error.said and "Forbidden" not in error.said:
        return NoetlError(f"{title(document)}: the cluster would refuse it: {error.said}", "nothing was changed; correct the values")
    advice = f"put the former value back, or let it be made anew: {kubectl} delete {kind.lower()} {name}"
    if kind in ("StatefulSet", "Deployment"):
        advice += " --cascade=orphan (its pods and volumes stay)"
    elif kind == "PersistentVolumeClaim":
        advice = "put the former value back; a volume that is to be another one has to be copied: its claim is not deleted here"
    return NoetlError(
        f"{title(document)}: Kubernetes never changes {', '.join(fields) or 'this field'} of what exists. "
        f"Nothing was changed, nothing deleted: {error.said}",
        advice,
        code="immutable",
    )


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _identity(document: Document) -> tuple[str, str, str]:
    meta = document["metadata"]
    return str(document["kind"]), str(meta.get("namespace") or ""), str(meta["name"])


def _plain(document: Document) -> Document:
    """Return an object without what the cluster writes into it by itself."""
    if not document:
        return {}
    meta = {key: value for key, value in document["metadata"].items() if key not in _NOISE}
    if annotations := {key: value for key, value in meta.pop("annotations", {}).items() if key != "deployment.kubernetes.io/revision"}:
        meta["annotations"] = annotations
    return {key: value for key, value in document.items() if key != "status"} | {"metadata": meta}


def _hidden(document: Document, other: Document) -> Document:
    if document.get("kind") != "Secret":
        return document
    shown = dict(document)
    for part in ("data", "stringData"):
        if part in document:
            known = other.get(part) or {}
            values = document[part].items()
            shown[part] = {key: "*** (new)" if other and known.get(key) != value else "***" for key, value in values}
    return shown


def _lines(document: Document) -> list[str]:
    return yaml.safe_dump(document, sort_keys=True, allow_unicode=True, width=140).splitlines() if document else []
