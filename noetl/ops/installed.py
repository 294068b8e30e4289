"""What is deployed in a namespace, looked at: workloads, pods, volumes, who is changing it."""

from __future__ import annotations

from typing import Any

from noetl.ops import diagnosis, lease, revision, rollout, tables
from noetl.ops.apply import title
from noetl.ops.kube_api import Api, Document


def status(api: Api, namespace: str) -> dict[str, Any]:
    """Return what is deployed and how it is; `up` tells whether all of it is."""
    revisions = revision.history(api, namespace) if api.find(f"/api/v1/namespaces/{namespace}") is not None else []
    seen = []
    for document in revisions[-1].documents if revisions else ():
        if document["kind"] in ("Deployment", "StatefulSet") and api.find(api.path(document)) is not None:
            seen.append(rollout.look(api, document))
    found = [one for look in seen if not rollout.is_up(look.workload) for one in rollout.findings(look, lambda pod: {})]
    claims = api.items(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims") if revisions else []
    return {
        "context": api.context,
        "url": api.url,
        "namespace": namespace,
        "up": bool(seen) and all(rollout.is_up(one.workload) for one in seen),
        "revision": revisions[-1].row() if revisions else None,
        "locked_by": lease.holder(api, namespace) or None,
        "workloads": [_workload(one.workload) for one in seen],
        "pods": [_pod(pod) for one in seen for pod in (*one.pods, *one.former)],
        "volumes": [_claim(one) for one in claims],
        "problems": [{"subject": one.subject, "cause": one.cause, "evidence": one.evidence, "advice": one.advice} for one in found],
    }


def as_text(found: dict[str, Any]) -> str:
    """Lay a status out for people."""
    where = f"namespace {found['namespace']} of context {found['context']} ({found['url']})"
    if found["revision"] is None:
        return f"{where}: nothing is deployed\n  deploy it: inv k8s.redeploy"
    one = found["revision"]
    parts = [f"{where}: revision {one['revision']}, {one['status']}, {one['when']} by {one['who']}"]
    if found["locked_by"]:
        parts.append(f"locked by {found['locked_by']}")
    parts.append(tables.table(found["workloads"], ("workload", "ready", "image")))
    parts.append(tables.table(found["pods"], ("pod", "state", "restarts", "node", "image")))
    if found["volumes"]:
        parts.append(tables.table(found["volumes"], ("volume", "state", "size")))
    parts += [f"{one['subject']}: {one['cause']}\n  {one['evidence']}\n  {one['advice']}" for one in found["problems"]]
    return "\n\n".join(parts)


def _workload(workload: Document) -> dict[str, Any]:
    status = workload.get("status", {})
    containers = workload["spec"]["template"]["spec"]["containers"]
    ready = f"{status.get('readyReplicas', 0)}/{workload['spec'].get('replicas', 1)}"
    return {"workload": title(workload), "ready": ready, "image": containers[0]["image"]}


def _pod(pod: Document) -> dict[str, Any]:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return {
        "pod": pod["metadata"]["name"],
        "state": diagnosis.state(pod),
        "restarts": sum(one.get("restartCount", 0) for one in statuses),
        "node": pod["spec"].get("nodeName"),
        "image": pod["spec"]["containers"][0]["image"],
    }


def _claim(claim: Document) -> dict[str, Any]:
    size = claim["status"].get("capacity", {}).get("storage") or claim["spec"].get("resources", {}).get("requests", {}).get("storage")
    return {"volume": claim["metadata"]["name"], "state": claim["status"].get("phase"), "size": size}
