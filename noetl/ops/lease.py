"""The lock on a namespace while somebody changes what is deployed there: a Kubernetes Lease with an owner and an expiry."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

from noetl.errors import Conflict, NoetlError
from noetl.ops import ending
from noetl.ops.kube_api import Api, Document, Refused

NAME = "noetl-deploy"
SECONDS = 60
"""How long a lock lives that its owner no longer renews, as when its machine is gone."""
_LOOK = 0.25
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def owner() -> str:
    """Return who holds a lock that is taken here: user, machine, process."""
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"


@contextlib.contextmanager
def held(api: Api, namespace: str, what: str, *, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the namespace's lock meanwhile, and release it however this ends; one that somebody holds is refused with who and since when."""
    lock = _Lock(api, namespace, what, seconds)
    with ending.as_interrupts():
        lock.start()
        try:
            lock.taken.result()
            yield
        finally:
            lock.over.set()
            lock.join()
    if lock.lost:
        raise Conflict(f"the lock on namespace {namespace} was taken away meanwhile", "see what is deployed now: inv k8s.status")


class _Lock(threading.Thread):
    """Takes a lock, renews it, and releases it when it is over, or when the process's first thread is: no signal reaches this one."""

    def __init__(self, api: Api, namespace: str, what: str, seconds: float) -> None:
        super().__init__(name="lease")
        self._api, self._what, self._seconds = api, what, seconds
        self._root = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._holder = owner()
        self.taken: Future[None] = Future()
        self.over = threading.Event()
        self.lost = False

    def run(self) -> None:
        try:
            _take(self._api, self._root, self._holder, self._what, self._seconds)
        except Exception as error:
            self.taken.set_exception(error)
            if not isinstance(error, Conflict):
                self._release()  # it may have been taken all the same, as where the answer got lost
            return
        self.taken.set_result(None)
        due = time.monotonic() + self._seconds / 4
        while not self.over.wait(_LOOK) and threading.main_thread().is_alive():
            if time.monotonic() > due:
                due = time.monotonic() + self._seconds / 4
                self._renew()
            if self.lost:
                return
        self._release()

    def _renew(self) -> None:
        # A request that did not come through is tried again until the lock has run out, and somebody else may have it.
        with contextlib.suppress(NoetlError):
            if (found := self._mine()) is None:
                self.lost = True
                return
            found["spec"]["renewTime"] = self._api.now().strftime(_FORMAT)
            self._api.request("PUT", f"{self._root}/{NAME}", found)

    def _release(self) -> None:
        with contextlib.suppress(NoetlError):
            if (found := self._mine()) is not None:
                preconditions = {"resourceVersion": found["metadata"]["resourceVersion"]}
                self._api.request("DELETE", f"{self._root}/{NAME}", {"preconditions": preconditions})

    def _mine(self) -> Document | None:
        found: Document | None = self._api.find(f"{self._root}/{NAME}")
        return found if found is not None and found["spec"].get("holderIdentity") == self._holder else None


def holder(api: Api, namespace: str) -> str:
    """Return who holds the namespace's lock, doing what and since when; empty where nobody does."""
    found = api.find(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}")
    return _described(found) if found is not None and not _expired(api, found) else ""


def _take(api: Api, root: str, holder: str, what: str, seconds: float) -> None:
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
            api.request("POST", root, lease)
            return
        if _expired(api, found):
            lease["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            api.request("PUT", f"{root}/{NAME}", lease)
            return
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
