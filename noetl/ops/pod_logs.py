"""The logs of what is deployed: of one workload, one pod, or all of them, each line with its pod before it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from noetl.errors import NotFound
from noetl.ops import revision
from noetl.ops.kube_api import Api, Document, Refused

_LOOK = 2.0


def find(api: Api, namespace: str, name: str) -> list[Document]:
    """Return the pods that a name means: a workload's (`noetl-server`, or `server`), a pod's own, or with an empty name all of noetl's."""
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods")
    revisions = revision.history(api, namespace)
    workloads = [one for one in (revisions[-1].documents if revisions else ()) if one["kind"] in ("Deployment", "StatefulSet", "Job")]
    chosen = [one for one in workloads if name in ("", one["metadata"]["name"], one["metadata"]["name"].removeprefix("noetl-"))]
    found = [pod for pod in pods if name == pod["metadata"]["name"] or any(_of(pod, one) for one in chosen)]
    if name and not chosen and not found:
        known = ", ".join(one["metadata"]["name"] for one in workloads) or "nothing"
        raise NotFound(f"namespace {namespace} has no workload and no pod {name}; deployed is: {known}", "see the pods: inv k8s.status")
    return found


def last(api: Api, pod: Document, lines: int, *, previous: bool = False) -> list[str]:
    """Return the last lines of a pod; with `previous`, of the container that ran before the one that runs now."""
    try:
        text = api.text("GET", _path(pod), tailLines=lines, previous="true" if previous else None, container=_container(pod))
    except Refused as error:
        if error.status in (400, 404):  # no container has run yet, or none before
            return []
        raise
    return text.decode(errors="replace").splitlines()


def follow(api: Api, namespace: str, name: str, lines: int) -> Iterator[tuple[str, str]]:
    """Yield (pod, line) of what is written from now on, after the last lines; of pods too that come later."""
    written: queue.Queue[tuple[str, str]] = queue.Queue()
    followed: dict[tuple[str, int], threading.Thread] = {}

    def read(pod: Document, life: tuple[str, int], tail: int | None) -> None:
        try:
            for line in api.lines(_path(pod), follow="true", tailLines=tail, container=_container(pod)):
                written.put((pod["metadata"]["name"], line))
        except Refused:  # not started yet, so that all of it is still to be read
            time.sleep(_LOOK)
            followed.pop(life, None)

    first, looked = True, 0.0
    while True:
        if time.monotonic() - looked > _LOOK:
            looked = time.monotonic()
            for pod in find(api, namespace, name):
                life = (pod["metadata"]["uid"], _restarts(pod))
                begun = life in followed
                over = begun and (followed[life].is_alive() or "deletionTimestamp" in pod["metadata"])
                if pod["status"].get("phase") == "Running" and not over:
                    # What was read of a log that broke off is not read again; of what has begun since the first look, all is.
                    tail = 0 if begun else lines if first else None
                    followed[life] = threading.Thread(target=read, args=(pod, life, tail), daemon=True)
                    followed[life].start()
            first = False
        try:
            yield written.get(timeout=0.5)
        except queue.Empty:
            continue


def _of(pod: Document, workload: Document) -> bool:
    labels = workload["spec"]["template"]["metadata"].get("labels") or {}
    return bool(labels) and labels.items() <= (pod["metadata"].get("labels") or {}).items()


def _restarts(pod: Document) -> int:
    """Return how often a pod's container has been started anew: each time its log begins anew."""
    return sum(int(one.get("restartCount", 0)) for one in pod["status"].get("containerStatuses", ())[:1])


def _path(pod: Document) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/log"


def _container(pod: Document) -> str:
    return str(pod["spec"]["containers"][0]["name"])
