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
    followed: dict[str, threading.Thread] = {}

    def read(pod: Document, tail: int) -> None:
        try:
            for line in api.lines(_path(pod), follow="true", tailLines=tail, container=_container(pod)):
                written.put((pod["metadata"]["name"], line))
        except Refused:
            time.sleep(_LOOK)  # not started yet

    first, looked = True, 0.0
    while True:
        if time.monotonic() - looked > _LOOK:
            looked = time.monotonic()
            for pod in find(api, namespace, name):
                uid, running = pod["metadata"]["uid"], pod["status"].get("phase") == "Running"
                if running and not (uid in followed and followed[uid].is_alive()):
                    # What was read of a pod whose log broke off is not read again.
                    tail = lines if first or uid not in followed else 0
                    followed[uid] = threading.Thread(target=read, args=(pod, tail), daemon=True)
                    followed[uid].start()
            first = False
        try:
            yield written.get(timeout=0.5)
        except queue.Empty:
            continue


def _of(pod: Document, workload: Document) -> bool:
    labels = workload["spec"]["template"]["metadata"].get("labels") or {}
    return bool(labels) and labels.items() <= (pod["metadata"].get("labels") or {}).items()


def _path(pod: Document) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/log"


def _container(pod: Document) -> str:
    return str(pod["spec"]["containers"][0]["name"])
