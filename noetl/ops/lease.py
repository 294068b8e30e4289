"""The lock on a namespace while somebody changes what is deployed there: a Kubernetes Lease with an owner and an expiry."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from noetl.errors import Conflict, NoetlError
from noetl.ops import ending
from noetl.ops.kube_api import Api, Document, Refused

NAME = "noetl-deploy"
SECONDS = 60
"""How long a lock lives that its owner no longer renews, as when its machine is gone."""
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def owner() -> str:
    """Return who holds a lock that is taken here: user, machine, process."""
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"


@contextlib.contextmanager
def held(api: Api, namespace: str, what: str, *, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the namespace's lock meanwhile, and release it however this ends; one that somebody holds is refused with who and since when."""
    with ending.as_interrupts():
        yield from _held(api, namespace, what, seconds)


def _held(api: Api, namespace: str, what: str, seconds: float) -> Iterator[None]:
    holder = owner()
    root = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    taken = _take(api, root, holder, what, seconds)
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        version = taken["metadata"]["resourceVersion"]
        while not done.wait(seconds / 4):
            # A request that did not come through is tried again until the lock has run out, and somebody else may have it.
            with contextlib.suppress(NoetlError):
                found = api.find(f"{root}/{NAME}")
                if found is None or found["spec"].get("holderIdentity") != holder:
                    lost.set()
                    return
                found["spec"]["renewTime"] = api.now().strftime(_FORMAT)
                version = api.request("PUT", f"{root}/{NAME}", found)["metadata"]["resourceVersion"]
        with contextlib.suppress(Refused):
            api.request("DELETE", f"{root}/{NAME}", {"preconditions": {"resourceVersion": version}})

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if lost.is_set():
        raise Conflict(f"the lock on namespace {namespace} was taken away meanwhile", "see what is deployed now: inv k8s.status")


def holder(api: Api, namespace: str) -> str:
    """Return who holds the namespace's lock, doing what and since when; empty where nobody does."""
    found = api.find(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}")
    return _described(found) if found is not None and not _expired(api, found) else ""


def _take(api: Api, root: str, holder: str, what: str, seconds: float) -> Document:
    lease: Document = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME, "annotations": {"noetl.io/doing": what}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": round(seconds)},
    }
    found = api.find(f"{root}/{NAME}")
    now = api.now().strftime(_FORMAT)
    lease["spec"] |= {"acquireTime": now, "renewTime": now}
    try:
        if found is None:
            return dict(api.request("POST", root, lease))
        if _expired(api, found):
            lease["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            return dict(api.request("PUT", f"{root}/{NAME}", lease))
    except Refused as error:
        if error.status != 409:
            raise
        found = api.find(f"{root}/{NAME}") or lease  # somebody else was faster
    namespace = root.split("/")[-2]
    raise Conflict(
        f"namespace {namespace} is locked by {_described(found)}",
        f"wait for it; if it is no more, the lock runs out by itself {round(seconds)} s after its last sign of life, or now: "
        f"kubectl --context {api.context} -n {namespace} delete lease {NAME}",
    )


def _described(lease: Document) -> str:
    spec = lease["spec"]
    doing = (lease["metadata"].get("annotations") or {}).get("noetl.io/doing", "something")
    since = _moment(spec.get("acquireTime"))
    return f"{spec.get('holderIdentity') or 'somebody'}, for {doing}, since {since.astimezone():%H:%M:%S}"


def _expired(api: Api, lease: Document) -> bool:
    spec = lease["spec"]
    return _moment(spec.get("renewTime")) + timedelta(seconds=spec.get("leaseDurationSeconds") or SECONDS) < api.now()


def _moment(text: str | None) -> datetime:
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC) if text else datetime.fromtimestamp(0, UTC)
