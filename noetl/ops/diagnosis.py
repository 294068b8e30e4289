"""Why a pod does not come up: cause, evidence, what to type. Pure: pods and events are Kubernetes' own documents."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noetl.ops.kube_api import Document

AT_ONCE, NEVER = 0.0, math.inf
_NOT_FOUND = ("not found", "manifest unknown", "repository does not exist", "no such image", "not present with pull policy")
_PLATFORM = ("exec format error", "no matching manifest", "no match for platform", "does not match the specified platform")
_NO_PROGRAM = ("executable file not found", "no such file or directory", "permission denied")
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ErrImageInspect", "RegistryUnavailable")
_NOT_CREATED = ("CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun")
_LAST_LINES = 12
_KILLED = "it is killed because its probe fails"
ARCH = "kubernetes.io/arch"


@dataclass(frozen=True)
class Finding:
    """Why something does not come up; after `patience` seconds of it, it is not expected to come up any more."""

    subject: str
    cause: str
    evidence: str
    advice: str
    patience: float = AT_ONCE


def of_pod(pod: Document, events: Iterable[Document], logs: Mapping[str, str]) -> Finding | None:
    """Return why a pod does not come up, if anything says so; `logs` are the last lines of its containers that have ended."""
    if pod["metadata"].get("deletionTimestamp"):
        return None
    own = [one for one in events if one.get("involvedObject", {}).get("uid") == pod["metadata"].get("uid")]
    statuses = [*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())]
    found = _unscheduled(pod, own) or _volume(pod, own)
    for status in statuses:
        found = found or _container(pod, status, own, logs.get(status["name"], ""))
    return found or _not_ready(pod, own)


def of_workload(workload: Document, events: Iterable[Document]) -> Finding | None:
    """Return why a workload gets no pods; `events` are those of it and of its ReplicaSet."""
    conditions = workload.get("status", {}).get("conditions") or ()
    said = [str(one.get("message")) for one in conditions if one["type"] == "ReplicaFailure" and one["status"] == "True"]
    if workload["kind"] != "Deployment":
        said = [str(one.get("message")) for one in events if one.get("reason") == "FailedCreate"]
    if not said:
        return None
    title = f"{workload['kind'].lower()}/{workload['metadata']['name']}"
    if "exceeded quota" in said[-1]:
        quota = re.search(r"exceeded quota: ([^,]+)", said[-1])
        name = quota.group(1) if quota else "?"
        advice = f"ask for less (resources, replicas in the values), or have the quota raised: kubectl describe resourcequota {name}"
        return Finding(title, f"the namespace's quota {name} is used up", said[-1], advice, 10)
    return Finding(title, "its pods are refused", said[-1], "correct the values: inv k8s.values", 10)


def of_claim(claim: Document, events: Iterable[Document]) -> Finding | None:
    """Return why a volume is not there yet."""
    if claim["status"].get("phase") != "Pending":
        return None
    own = [one for one in events if one.get("involvedObject", {}).get("uid") == claim["metadata"]["uid"]]
    failed = [str(one.get("message")) for one in own if one.get("reason") in ("ProvisioningFailed", "FailedBinding")]
    wanted = claim["spec"].get("storageClassName")
    size = claim["spec"].get("resources", {}).get("requests", {}).get("storage", "?")
    evidence = failed[-1] if failed else f"class {wanted or '(the default)'}, {size}, nothing provided yet"
    title = f"persistentvolumeclaim/{claim['metadata']['name']}"
    advice = "see the cluster's classes: kubectl get storageclass; take one: inv k8s.deploy --set postgres.storage.class_name=CLASS"
    return Finding(title, "its volume is not provided", evidence, advice, 10 if failed else 60)


def _unscheduled(pod: Document, events: Sequence[Document]) -> Finding | None:
    condition = next((one for one in pod["status"].get("conditions", ()) if one["type"] == "PodScheduled"), None)
    if condition is None or condition["status"] == "True" or condition.get("reason") != "Unschedulable":
        return None
    said = str(condition.get("message") or "")
    patience = 300.0 if any(one.get("reason") == "TriggeredScaleUp" for one in events) else 15.0
    short = list(dict.fromkeys(re.findall(r"Insufficient ([\w./-]+?)[,.]?(?:\s|$)", said)))
    architecture = pod["spec"].get("nodeSelector", {}).get(ARCH)
    if short:
        asked = ", ".join(f"{name} {_requested(pod, name)}" for name in short)
        advice = "ask for less (resources.requests in the values), or add a node"
        return Finding(
            _title(pod), f"no node has room for it: not enough {' and '.join(short)}", f"it asks for {asked}; {said}", advice, patience
        )
    if "PersistentVolumeClaim" in said or "persistentvolumeclaim" in said:
        return Finding(_title(pod), "its volume is not there", said, "see why: kubectl describe persistentvolumeclaims", 60)
    if "node selector" in said or "affinity" in said:
        selector = ", ".join(f"{key}={value}" for key, value in pod["spec"].get("nodeSelector", {}).items()) or "its affinity"
        advice = (
            "build for the nodes there are: inv k8s.redeploy --platform linux/ARCH"
            if architecture
            else "correct node_selector in the values"
        )
        return Finding(_title(pod), f"no node fits {selector}", said, advice, patience)
    return Finding(_title(pod), "no node takes it", said, "see the nodes: kubectl describe nodes", patience)


def _volume(pod: Document, events: Sequence[Document]) -> Finding | None:
    if pod["status"].get("phase") != "Pending":
        return None
    for event in reversed(events):
        said = str(event.get("message") or "")
        if event.get("reason") == "FailedMount" and re.search(r"not found|non-existent", said):
            return _missing(pod, said)
    return None


def _container(pod: Document, status: Document, events: Sequence[Document], log: str) -> Finding | None:
    waiting = status.get("state", {}).get("waiting") or {}
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
    reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _IMAGE:
        return _image(pod, status, reason, said, events)
    if reason == "CreateContainerConfigError":
        return _missing(pod, said)
    if reason in _NOT_CREATED:
        return _not_started(pod, status, said or str(ended.get("message") or reason))
    if ended and (ended.get("exitCode") or ended.get("reason") == "OOMKilled"):
        return _ended(pod, status, ended, events, log, looping=reason == "CrashLoopBackOff")
    return None


def _image(pod: Document, status: Document, reason: str, said: str, events: Sequence[Document]) -> Finding | None:
    image = str(status.get("image"))
    pulls = [str(one.get("message")) for one in events if one.get("reason") == "Failed" and image in str(one.get("message"))]
    evidence = next((one for one in reversed(pulls) if "pull" in one or "present" in one), said) or reason
    if any(one in evidence for one in _PLATFORM):
        return _architecture(pod, status, evidence)
    if reason == "InvalidImageName":
        return Finding(_title(pod), f"{image} is no name of an image", evidence, "correct it: inv k8s.deploy --image NAME:TAG")
    if reason == "ErrImageNeverPull" or any(one in evidence for one in _NOT_FOUND):
        advice = "build it and bring it there: inv k8s.redeploy; or take one that exists: inv k8s.deploy --image NAME:TAG"
        return Finding(_title(pod), f"image not found: {image}", evidence, advice)
    advice = f"can the nodes reach that registry, and log in to it (pull_secrets in the values)? By hand on one: docker pull {image}"
    return Finding(
        _title(pod), f"image not found: {image} cannot be pulled", evidence, advice, AT_ONCE if reason == "ImagePullBackOff" else 15
    )


def _missing(pod: Document, said: str) -> Finding:
    if found := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)", said):
        key, kind, where = found.groups()
        name = where.rpartition("/")[2]
        advice = f"add the key, or name another in the values: kubectl -n {_namespace(pod)} edit {kind.lower()} {name}"
        return Finding(_title(pod), f"{kind} {name} has no key {key}", said, advice)
    if found := re.search(r'(secret|configmap) "([^"]+)" not found', said):
        kind, name = found.groups()
        advice = f"create it, or name another in the values: kubectl -n {_namespace(pod)} get {kind}s"
        return Finding(_title(pod), f"there is no {kind} {name}", said, advice)
    return Finding(_title(pod), "a key of a Secret or ConfigMap is missing", said, f"kubectl -n {_namespace(pod)} get secrets,configmaps")


def _not_started(pod: Document, status: Document, said: str) -> Finding:
    if any(one in said for one in _PLATFORM):
        return _architecture(pod, status, said)
    if any(one in said for one in _NO_PROGRAM):
        return Finding(_title(pod), f"the image {status.get('image')} has no such program", said, "is it an image of noetl? inv build")
    return Finding(
        _title(pod), "its container cannot be created", said, f"kubectl -n {_namespace(pod)} describe pod {pod['metadata']['name']}"
    )


def _ended(pod: Document, status: Document, ended: Document, events: Sequence[Document], log: str, *, looping: bool) -> Finding:
    said = f"{ended.get('message') or ''}\n{log}"
    again = status.get("restartCount", 0)
    patience = AT_ONCE if looping or again > 2 else NEVER
    if any(one in said for one in _PLATFORM):
        return _architecture(pod, status, said.strip().splitlines()[-1])
    if ended.get("reason") == "ContainerCannotRun":
        return _not_started(pod, status, said.strip())
    name = pod["metadata"]["name"]
    if ended.get("reason") == "OOMKilled":
        container: Document = next((one for one in pod["spec"]["containers"] if one["name"] == status["name"]), {})
        limit = container.get("resources", {}).get("limits", {}).get("memory", "none of its own")
        advice = "give it more: resources.limits.memory in the values"
        return Finding(_title(pod), "out of memory", f"container {status['name']} was killed; its limit is {limit}", advice, patience)
    if (killed := _killing(events)) and ended.get("exitCode") in (137, 143):
        advice = f"see what it does meanwhile: inv k8s.logs --name {name}"
        return Finding(_title(pod), _KILLED, f"{killed}{_after(log)}", advice, patience)
    cause = f"it crashes: exit code {ended.get('exitCode')}" + (f", {again} times so far" if again > 1 else "")
    return Finding(
        _title(pod), cause, _lines(log) or "it wrote nothing", f"all of its log: inv k8s.logs --name {name} --previous", patience
    )


def _architecture(pod: Document, status: Document, evidence: str) -> Finding:
    advice = "build for the nodes' architecture: inv k8s.redeploy (or --platform linux/ARCH)"
    return Finding(_title(pod), f"wrong architecture: {status.get('image')} is not built for this node", evidence, advice)


def _not_ready(pod: Document, events: Sequence[Document]) -> Finding | None:
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    failed = [str(one.get("message")) for one in events if one.get("reason") == "Unhealthy"]
    if ready or not failed:
        return None
    advice = f"see what it does meanwhile: inv k8s.logs --name {pod['metadata']['name']}"
    if killed := any(_killed(one) for one in events) and _killing(events):
        return Finding(_title(pod), _KILLED, killed, advice, 90)
    return Finding(_title(pod), "its probe fails", failed[-1], advice, 90)


def state(pod: Document) -> str:
    """Return a pod's state in a word or two, as kubectl shows it."""
    if pod["metadata"].get("deletionTimestamp"):
        return "stopping"
    for status in (*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())):
        for where in ("waiting", "terminated"):
            reason = (status.get("state", {}).get(where) or {}).get("reason")
            if reason and reason not in ("ContainerCreating", "PodInitializing", "Completed"):
                return str(reason)
    phase = str(pod["status"].get("phase"))
    if phase == "Running":
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
        return "ready" if ready else "not ready"
    return {"Pending": "starting", "Succeeded": "done", "Failed": "failed"}.get(phase, phase)


def worst(findings: Iterable[Finding], lasted: Callable[[Finding], float]) -> Finding | None:
    """Return the first finding that has lasted for longer than its patience."""
    return next((one for one in findings if lasted(one) >= one.patience), None)


def _requested(pod: Document, name: str) -> str:
    found = [one.get("resources", {}).get("requests", {}).get(name) for one in pod["spec"]["containers"]]
    return " + ".join(str(one) for one in found if one is not None) or "?"


def _killing(events: Sequence[Document]) -> str:
    """Return what was last said of a probe whose failure ends its container, nothing where none of these has failed."""
    said = [str(one.get("message")) for one in events if one.get("reason") == "Unhealthy"]
    return next((one for one in reversed(said) if one.startswith(("Liveness", "Startup"))), "")


def _killed(event: Document) -> bool:
    """Tell whether a container is ended for its probe: said when that begins, long before a status has the end if the machine is busy."""
    return event.get("reason") == "Killing" and bool(re.search(r"failed (liveness|startup) probe", str(event.get("message"))))


def _after(log: str) -> str:
    return f"\n{_lines(log)}" if log.strip() else ""


def _lines(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-_LAST_LINES:])


def _title(pod: Document) -> str:
    return f"pod/{pod['metadata']['name']}"


def _namespace(pod: Document) -> str:
    return str(pod["metadata"].get("namespace") or "default")
