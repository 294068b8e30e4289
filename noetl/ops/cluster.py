"""What is deployed in a namespace, changed as a whole: asked first, locked, applied, watched, recorded; and gone back from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from noetl.errors import NotFound, UsageError
from noetl.ops import apply, generated, lease, revision, rollout
from noetl.ops.apply import Change, title
from noetl.ops.diagnosis import ARCH
from noetl.ops.kube_api import Api, Document
from noetl.ops.revision import Revision

_GONE_WITHIN = 120.0


@dataclass(frozen=True)
class Options:
    """How a change is made: how long each part may take to come up, whose fields are taken, what happens when it does not come up."""

    timeout: float = 300.0
    take_over: bool = False
    roll_back: bool = False
    progress: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Deployed:
    """What a deploy did: the revision that is there now, what was written, what was deleted, and what stays though nothing names it."""

    revision: int
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def prepared(documents: Sequence[Document], *, image: str = "", digest: str = "", note: str = "", values: object = None) -> Revision:
    """Return the record of a deploy that is to be made, by whoever runs this, now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    given = values if isinstance(values, dict) else {}
    return Revision(0, lease.owner().partition(" ")[0], now, image=image, digest=digest, note=note, values=given, documents=documents)


def architectures(api: Api) -> list[str]:
    """Return the architectures of the nodes that take pods."""
    nodes = [one for one in api.items("/api/v1/nodes") if not one["spec"].get("unschedulable")]
    return sorted({str(one["status"]["nodeInfo"]["architecture"]) for one in nodes if one.get("status", {}).get("nodeInfo")})


def kube_version(api: Api) -> str:
    """Return the cluster's version of Kubernetes, such as 1.29."""
    found = api.request("GET", "/version")
    return f"{found['major']}.{''.join(one for one in str(found['minor']) if one.isdigit())}"


def plan(api: Api, namespace: str, documents: Sequence[Document], options: Options) -> tuple[list[Change], list[Document], list[Document]]:
    """Ask what a deploy would change, what it would delete, and what would stay though nothing names it any more."""
    _check_architectures(documents, architectures(api))
    revisions = _history(api, namespace)
    changes = apply.plan(api, documents, take_over=options.take_over, done=_done(revisions))
    gone, kept = apply.surplus(_since_good(revisions), documents)
    return changes, gone, kept


def deploy(api: Api, namespace: str, new: Revision, options: Options, what: str = "deploy") -> Deployed:
    """Bring a namespace to what the documents say; return when all of it is up.

    The cluster is asked before anything is written. Nothing changed: nothing is written. With `roll_back`, what does not come up makes
    place for the last revision that did, and the error is raised all the same.
    """
    changes, gone, kept = plan(api, namespace, new.documents, options)
    revisions = _history(api, namespace)
    if not gone and all(one.action == "keep" for one in changes) and revisions and revisions[-1].status == "deployed":
        rollout.watch(api, _watched(changes), timeout=options.timeout, progress=options.progress)
        return Deployed(revisions[-1].number, kept=[title(one) for one in kept])
    _make_namespace(api, namespace, changes, options)
    with lease.held(api, namespace, what):
        return recorded(api, namespace, new, options)


def recorded(api: Api, namespace: str, new: Revision, options: Options) -> Deployed:
    """Make the changes, with a record of how it went, for one who holds the lock."""
    revisions = revision.history(api, namespace)
    for key in generated.complete(api, namespace, generated.wanted(new.documents)):
        options.progress(f"secret/{generated.NAME}: made {key}")
    changes, gone, kept = plan(api, namespace, new.documents, options)
    record = replace(new, number=revisions[-1].number + 1 if revisions else 1)
    revision.begin(api, namespace, record)
    try:
        changed = _brought(api, changes, options)
        deleted = apply.remove(api, gone, options.progress)
    except BaseException as error:
        with contextlib.suppress(Exception):
            note = record.note if isinstance(error, Exception) else "interrupted"
            revision.end(api, namespace, replace(record, note=note), "failed")
        good = revision.current(revisions)
        if isinstance(error, rollout.NotComing) and options.roll_back:
            error.message += f"\n  {_gone_back(api, namespace, record, good, options)}"
        raise
    revision.end(api, namespace, record, "deployed")
    return Deployed(record.number, changed, deleted, [title(one) for one in kept])


def rollback(api: Api, namespace: str, number: int | None, options: Options) -> Deployed:
    """Bring back a revision: that of the number, else the one that came up before the newest."""
    found = revision.chosen(_history(api, namespace), number)
    new = prepared(found.documents, image=found.image, digest=found.digest, note=f"back to revision {found.number}", values=found.values)
    return deploy(api, namespace, new, options, "rollback")


def remove(api: Api, namespace: str, options: Options, *, volumes: bool = False) -> tuple[list[str], list[str]]:
    """Delete what was deployed; return what was deleted and what stays. Data and the keys to it stay, unless `volumes` deletes both."""
    every = [one for record in _history(api, namespace) for one in record.documents]
    documents = list({api.path(one): one for one in every}.values())
    if not documents:
        raise NotFound(f"nothing was deployed to namespace {namespace} by noetl", "see what is there: inv k8s.status")
    stays = ("Namespace", "PersistentVolumeClaim", "Secret")
    with lease.held(api, namespace, "remove"):
        doomed = [one for one in reversed(apply.ordered(documents)) if one["kind"] not in stays]
        claims = _claims(api, namespace, documents)
        removed = apply.remove(api, doomed, options.progress)
        _wait_for_pods(api, namespace, documents)
        # What holds data: the volumes, and the passwords and the key without which it cannot be read.
        data = [*claims, *(one for one in documents if one["kind"] == "Secret")]
        if volumes:
            removed += apply.remove(api, data, options.progress)
        revision.forget(api, namespace)
    left = [one for one in documents if one["kind"] == "Namespace"] + ([] if volumes else data)
    return removed, [title(one) for one in left if api.find(api.path(one)) is not None]


def _gone_back(api: Api, namespace: str, failed: Revision, good: Revision | None, options: Options) -> str:
    """Bring the last good revision back after one that failed, and say so."""
    if good is None:
        return "it stays as it is: there is no earlier revision to go back to"
    options.progress(f"going back to revision {good.number}")
    note = f"back to revision {good.number}, after revision {failed.number} did not come up"
    back = recorded(api, namespace, replace(good, note=note, status="deploying"), replace(options, roll_back=False, take_over=True))
    return f"revision {good.number} is back, as revision {back.revision}"


def _brought(api: Api, changes: Sequence[Change], options: Options) -> list[str]:
    """Make the changes in three parts, each waited for: what others stand on, the Jobs, everything else."""
    written = []
    parts = [
        [one for one in changes if _rank(one.document) < 0],
        [one for one in changes if one.document["kind"] == "Job"],
        [one for one in changes if _rank(one.document) > 0],
    ]
    for part in parts:
        for change in part:
            if apply.perform(api, change, take_over=options.take_over):
                options.progress(f"{change.title}: {'created' if change.before is None else 'changed'}")
                written.append(change.title)
        rollout.watch(api, _watched(part), timeout=options.timeout, progress=options.progress)
    return written


def _rank(document: Document) -> int:
    """Order a document against the Jobs: before them what they need, after them what runs on what they did."""
    kind = document["kind"]
    return 0 if kind == "Job" else 1 if apply.after(kind, "Job") else -1


def _watched(changes: Iterable[Change]) -> list[Document]:
    """Return the documents that are waited for; a Job that has run before may be gone."""
    return [one.document for one in changes if one.document["kind"] != "Job" or one.action != "keep" or one.before is not None]


def _make_namespace(api: Api, namespace: str, changes: Sequence[Change], options: Options) -> None:
    if api.find(f"/api/v1/namespaces/{namespace}") is not None:
        return
    for change in changes:
        if change.document["kind"] == "Namespace" and change.document["metadata"]["name"] == namespace:
            apply.perform(api, change)
            options.progress(f"{change.title}: created")
            return
    raise UsageError(f"there is no namespace {namespace}", f"make it: kubectl create namespace {namespace}; or --set create_namespace=true")


def _check_architectures(documents: Iterable[Document], nodes: Sequence[str]) -> None:
    """Refuse documents whose pods no node's architecture fits."""
    for document in documents:
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        wanted = (pod.get("nodeSelector") or {}).get(ARCH)
        if wanted and nodes and wanted not in nodes:
            raise UsageError(
                f"{title(document)} is for linux/{wanted}, and no node is: they are {', '.join(nodes)}. Nothing was changed",
                " or ".join(f"inv k8s.redeploy --platform linux/{one}" for one in nodes),
                code="wrong_platform",
            )


def _history(api: Api, namespace: str) -> list[Revision]:
    return revision.history(api, namespace) if api.find(f"/api/v1/namespaces/{namespace}") is not None else []


def _done(revisions: Iterable[Revision]) -> list[Document]:
    """Return the Jobs that have run to their end in any revision."""
    return [one for record in revisions if record.status in ("deployed", "replaced") for one in record.documents if one["kind"] == "Job"]


def _since_good(revisions: Sequence[Revision]) -> list[Document]:
    """Return every document of the last revision that came up and of those after it."""
    good = revision.current(revisions)
    return [one for record in revisions if good is None or record.number >= good.number for one in record.documents]


def _claims(api: Api, namespace: str, documents: Iterable[Document]) -> list[Document]:
    """Return the volume claims of the documents, and those that their StatefulSets have made."""
    found = [one for one in documents if one["kind"] == "PersistentVolumeClaim"]
    prefixes = [
        f"{claim['metadata']['name']}-{one['metadata']['name']}-"
        for one in documents
        if one["kind"] == "StatefulSet"
        for claim in one["spec"].get("volumeClaimTemplates", ())
    ]
    for claim in api.items(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"):
        name = claim["metadata"]["name"]
        if any(name.startswith(prefix) and name.removeprefix(prefix).isdigit() for prefix in prefixes):
            found.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace}})
    return found


def _wait_for_pods(api: Api, namespace: str, documents: Iterable[Document]) -> None:
    """Return when the workloads' pods are gone, so that what comes next finds volumes and names free."""
    selectors = [one["spec"]["selector"]["matchLabels"] for one in documents if one["kind"] in ("Deployment", "StatefulSet")]
    deadline = time.monotonic() + _GONE_WITHIN
    for selector in selectors:
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        while api.items(f"/api/v1/namespaces/{namespace}/pods", labels) and time.monotonic() < deadline:
            time.sleep(0.5)
