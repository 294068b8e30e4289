"""Watching a rollout: until every workload is up, or as soon as one cannot come up any more."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from noetl.errors import NoetlError
from noetl.ops import diagnosis
from noetl.ops.apply import title
from noetl.ops.diagnosis import Finding
from noetl.ops.kube_api import Api, Document, Refused

WORKLOADS = ("Deployment", "StatefulSet", "Job")
_LOOK = 1.0
_LOG_LINES = 40


class NotComing(NoetlError):
    """A workload does not come up."""

    code = "not_coming_up"


@dataclass(frozen=True)
class Seen:
    """A workload at one moment: itself, its newest pods, those of earlier revisions, and events of them all."""

    workload: Document
    pods: list[Document]
    former: list[Document]
    events: list[Document]
    claims: list[Document] = field(default_factory=list)


def watch(api: Api, documents: Iterable[Document], *, timeout: float, progress: Callable[[str], None]) -> None:
    """Return when the workloads among the documents are up; raise NotComing as soon as one will not be."""
    watching = _Watch(api, timeout, progress)
    left = [one for one in documents if one["kind"] in WORKLOADS]
    while left := [one for one in left if not watching.is_up(one)]:
        time.sleep(_LOOK)


class _Watch:
    """What was seen so far: which line was shown of a workload, and since when something is wrong with it."""

    def __init__(self, api: Api, timeout: float, progress: Callable[[str], None]) -> None:
        self._api, self._progress = api, progress
        self._began, self._deadline, self._timeout = api.now().isoformat()[:19], time.monotonic() + timeout, timeout
        self._shown: dict[str, str] = {}
        self._since: dict[tuple[str, str, str], float] = {}

    def is_up(self, document: Document) -> bool:
        """Look at a workload and tell whether it is up; raise NotComing where it will not be."""
        seen, name = look(self._api, document), title(document)
        if (line := described(seen)) != self._shown.get(name):
            self._shown[name] = line
            self._progress(line)
        if is_up(seen.workload):
            return True
        if not is_observed(seen.workload):
            return False
        if unstuck := _unstuck(self._api, seen):
            self._progress(unstuck)
        found = findings(seen, lambda pod: _logs(self._api, pod), self._began)
        late, failed = time.monotonic() > self._deadline, has_failed(seen.workload)
        lasted = self._lasted(name, found)
        worst = diagnosis.worst(found, lambda one: lasted[one])
        if worst is None and (late or failed) and found:
            worst = found[0]
        if worst is not None:
            raise not_coming(seen, worst)
        if late or failed:
            message = f"{line}: not up after {self._timeout:.0f} s" if late else f"{name} has failed"
            raise NotComing(message, f"see its pods: inv k8s.status, and what they say: inv k8s.logs --name {document['metadata']['name']}")
        return False

    def _lasted(self, workload: str, found: list[Finding]) -> dict[Finding, float]:
        """Return how long each finding of a workload has lasted."""
        now = time.monotonic()
        before, self._since = self._since, {key: moment for key, moment in self._since.items() if key[0] != workload}
        for one in found:
            key = (workload, one.subject, one.cause)
            self._since[key] = before.get(key, now)
        return {one: now - self._since[workload, one.subject, one.cause] for one in found}


def look(api: Api, document: Document) -> Seen:
    """Look at a workload, its pods, and what happened to them."""
    meta = document["metadata"]
    namespace = meta["namespace"]
    workload = api.request("GET", api.path(document))
    events = sorted(api.items(f"/api/v1/namespaces/{namespace}/events"), key=_moment)
    selector = workload["spec"].get("selector", {}).get("matchLabels") or {}
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods", labels)
    mine = {workload["metadata"]["uid"], *(one["metadata"]["uid"] for one in pods)}
    newest: Callable[[Document], bool] = lambda pod: True  # noqa: E731 - a Job's pods are all its own
    if not is_observed(workload):
        newest = lambda pod: False  # noqa: E731 - what is there is of the form before
    elif workload["kind"] == "Deployment":
        sets = api.items(f"/apis/apps/v1/namespaces/{namespace}/replicasets", labels)
        current = [one for one in sets if _revision(one) == _revision(workload)]
        mine |= {one["metadata"]["uid"] for one in current}
        marks = {one["metadata"]["labels"].get("pod-template-hash") for one in current}
        newest = lambda pod: pod["metadata"]["labels"].get("pod-template-hash") in marks  # noqa: E731
    elif workload["kind"] == "StatefulSet":
        update = workload.get("status", {}).get("updateRevision")
        newest = lambda pod: pod["metadata"]["labels"].get("controller-revision-hash") == update  # noqa: E731
    claims = []
    names = {
        one["persistentVolumeClaim"]["claimName"]
        for pod in pods
        for one in pod["spec"].get("volumes", ())
        if "persistentVolumeClaim" in one
    }
    if names:
        claims = [one for one in api.items(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims") if one["metadata"]["name"] in names]
        mine |= {one["metadata"]["uid"] for one in claims}
    return Seen(
        {**document, **workload, "kind": document["kind"]},
        [one for one in pods if newest(one)],
        [one for one in pods if not newest(one)],
        [one for one in events if one["involvedObject"].get("uid") in mine],
        claims,
    )


def is_observed(workload: Document) -> bool:
    """Tell whether its controller has seen a workload's newest form; until then its status is of the form before."""
    observed = workload.get("status", {}).get("observedGeneration", 0)
    return workload["kind"] == "Job" or bool(observed >= workload["metadata"].get("generation", 0))


def is_up(workload: Document) -> bool:
    """Tell whether a workload is all there, in its newest form."""
    status = workload.get("status", {})
    if workload["kind"] == "Job":
        return _condition(workload, "Complete")
    if not is_observed(workload):
        return False
    wanted = workload["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    if workload["kind"] == "StatefulSet":
        same = status.get("currentRevision") == status.get("updateRevision") or updated == wanted
        return bool(same and status.get("readyReplicas", 0) == wanted == status.get("replicas", 0))
    return bool(updated == wanted == status.get("availableReplicas", 0) == status.get("replicas", 0))


def has_failed(workload: Document) -> bool:
    """Tell whether Kubernetes itself has given a Job up. That of a Deployment may be of a former try, and ends nothing."""
    return workload["kind"] == "Job" and _condition(workload, "Failed")


def findings(seen: Seen, logs: Callable[[Document], Mapping[str, str]], since: str = "") -> list[Finding]:
    """Return why a workload is not up yet, as far as anything says so."""
    events = [one for one in seen.events if _moment(one) >= since]
    found = [diagnosis.of_workload(seen.workload, events)]
    found += [diagnosis.of_claim(one, seen.events) for one in seen.claims]
    found += [diagnosis.of_pod(one, seen.events, logs(one)) for one in seen.pods]
    return [one for one in found if one is not None]


def described(seen: Seen) -> str:
    """Return how far a workload is, in a line: what is ready, and its pods by state."""
    job = seen.workload["kind"] == "Job"
    states = Counter("running" if job and diagnosis.state(one) == "ready" else diagnosis.state(one) for one in seen.pods)
    pods = ", ".join(f"{count} {name}" for name, count in sorted(states.items())) or "none yet"
    former = sum(diagnosis.state(one) == "ready" for one in seen.former)
    still = f"; {former} of the revision before" if former else ""
    if job:
        return f"{title(seen.workload)}: {'done' if is_up(seen.workload) else pods}"
    return f"{title(seen.workload)}: {'up, ' if is_up(seen.workload) else ''}{pods} of {seen.workload['spec'].get('replicas', 1)}{still}"


def not_coming(seen: Seen, finding: Finding) -> NotComing:
    """Return the error that says why a workload does not come up, with the evidence, what still serves, and what to type."""
    evidence = "\n  ".join(finding.evidence.splitlines())
    serving = sum(diagnosis.state(one) == "ready" for one in seen.former)
    still = f"\n  {serving} of its former pods still serve" if serving else ""
    subject = title(seen.workload)
    who = f"{subject} ({finding.subject})" if finding.subject != subject else subject
    details = {"workload": subject, "subject": finding.subject, "cause": finding.cause, "evidence": finding.evidence}
    return NotComing(f"{who}: {finding.cause}\n  {evidence}{still}", finding.advice, details=details)


def _unstuck(api: Api, seen: Seen) -> str | None:
    """Delete a StatefulSet's former pod that never became ready: Kubernetes would wait for it before it makes the new one."""
    if seen.workload["kind"] != "StatefulSet":
        return None
    for pod in seen.former:
        if diagnosis.of_pod(pod, seen.events, {}) is not None:
            running = any("running" in one.get("state", {}) for one in pod["status"].get("containerStatuses", ()))
            api.delete(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}", now=not running)
            return f"pod/{pod['metadata']['name']}: never came up, made anew"
    return None


def _logs(api: Api, pod: Document) -> dict[str, str]:
    """Read the last lines of a pod's containers that have ended."""
    found = {}
    for status in (*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())):
        now, before = status.get("state", {}).get("terminated"), status.get("lastState", {}).get("terminated")
        if now or before:
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/log"
            try:
                text = api.text("GET", path, container=status["name"], tailLines=_LOG_LINES, previous=None if now else "true")
            except Refused:  # the container, or its log, is gone meanwhile
                continue
            found[status["name"]] = text.decode(errors="replace")
    return found


def _moment(event: Document) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _revision(document: Document) -> str:
    return str((document["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision"))


def _condition(workload: Document, kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in workload.get("status", {}).get("conditions") or ())
