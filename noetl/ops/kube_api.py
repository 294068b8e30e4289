"""Requests to one Kubernetes cluster, JSON in and out. The only import of the kubernetes client in the verbs: it costs a second."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3
from kubernetes.config import ConfigException

from noetl.errors import NoetlError, Unavailable, UsageError

Document = dict[str, Any]
"""A Kubernetes object as JSON has it: Kubernetes' own schema says what is in it."""
FIELD_MANAGER = "noetl"
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_client: Any = kubernetes.client
_config: Any = kubernetes.config


class Refused(NoetlError):
    """The cluster refused a request; `status` is the HTTP status, `reason` Kubernetes' own word, `causes` the fields that it names."""

    code = "refused_by_cluster"

    def __init__(self, status: int, body: bytes, where: str) -> None:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        answer = answer if isinstance(answer, dict) else {}
        self.status = status
        self.reason = str(answer.get("reason") or "")
        self.causes: list[Mapping[str, Any]] = list((answer.get("details") or {}).get("causes") or [])
        self.said = str(answer.get("message") or body[:300].decode(errors="replace") or "no reason given")
        hint = {
            401: "the kubeconfig's credentials are no longer taken: log in to the cluster again",
            403: "ask for that right, or take a context that has it: inv k8s.target --context CONTEXT",
        }.get(status, "")
        super().__init__(f"{where}: the cluster answers {status}: {self.said}", hint)


class Api:
    """A connection to the cluster that a context of the kubeconfig names; the kubeconfig is only read."""

    def __init__(self, context: str) -> None:
        settings = _client.Configuration()
        try:
            _config.load_kube_config(config_file=kubeconfig(), context=context, client_configuration=settings)
        except ConfigException as error:
            raise UsageError(
                f"{kubeconfig()}: {error}", "take another kubeconfig with KUBECONFIG=…, or another context: inv k8s.target"
            ) from error
        self.context = context
        self.url = str(settings.host)
        self.client = _client.ApiClient(settings)
        self._settings = settings
        self._pool: urllib3.PoolManager = self.client.rest_client.pool_manager
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}
        self._ahead = timedelta()

    def request(self, method: str, path: str, body: object = None, *, content: str = "application/json", **query: object) -> Any:
        """Send a request and return the answer's JSON."""
        return json.loads(self.text(method, path, body, content=content, **query))

    def text(self, method: str, path: str, body: object = None, *, content: str = "application/json", **query: object) -> bytes:
        """Send a request and return the answer as it is."""
        answer = self._send(method, path, body, content, query)
        return bytes(answer.data)

    def lines(self, path: str, **query: object) -> Iterator[str]:
        """Yield the lines of an answer that does not end, such as a log that is followed."""
        answer = self._send("GET", path, None, "application/json", query, stream=True)
        rest = b""
        try:
            for piece in answer.stream(4096, decode_content=True):
                *whole, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        except urllib3.exceptions.HTTPError:
            pass  # the pod has ended, or its node is gone: the log is over
        finally:
            answer.release_conn()
        if rest:
            yield rest.decode(errors="replace")

    def find(self, path: str) -> Any:
        """Return what is at a path, or None."""
        try:
            return self.request("GET", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, selector: str = "") -> list[Document]:
        """List what is at a path, of those that have the labels."""
        found: list[Document] = self.request("GET", path, labelSelector=selector or None)["items"]
        return found

    def delete(self, path: str, *, now: bool = False) -> bool:
        """Delete what is at a path, what it owns after it; tell whether it was there. With `now`, do not wait for a pod's node."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self.request("DELETE", path, options | ({"gracePeriodSeconds": 0} if now else {}))
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    def connect(self, namespace: str, pod: str, port: int) -> Any:
        """Open a connection to a pod's port through the cluster's API: `socket(port)` is it, `error(port)` why it broke, if it did."""
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward

        core = _client.CoreV1Api(_client.ApiClient(self._settings))
        try:
            return portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
        except ApiException as error:
            raise Unavailable(f"pod {pod} cannot be reached: {error.reason}", "see how it is: inv k8s.status") from error

    def now(self) -> datetime:
        """Return the time by the cluster's clock: whoever compares times that others wrote has to have one clock with them."""
        return datetime.now(UTC) + self._ahead

    def path(self, document: Mapping[str, Any]) -> str:
        """Return the path of a document's object; a kind that the cluster does not know is refused."""
        version, kind = str(document["apiVersion"]), str(document["kind"])
        plural, namespaced = self._kind(version, kind)
        meta = document["metadata"]
        where = f"/namespaces/{meta.get('namespace') or 'default'}" if namespaced else ""
        return f"{_root(version)}{where}/{plural}/{meta['name']}"

    def _kind(self, version: str, kind: str) -> tuple[str, bool]:
        if version not in self._kinds:
            known = self.find(_root(version)) or {"resources": []}
            self._kinds[version] = {one["kind"]: (one["name"], one["namespaced"]) for one in known["resources"] if "/" not in one["name"]}
        if kind not in self._kinds[version]:
            raise NoetlError(
                f"the cluster at {self.url} does not know {kind} of {version}",
                "its operator is not installed, or --kube-version is not the cluster's own: switch that part off in the values",
            )
        return self._kinds[version][kind]

    def _send(self, method: str, path: str, body: object, content: str, query: Mapping[str, object], *, stream: bool = False) -> Any:
        given = urlencode({name: value for name, value in query.items() if value is not None})
        headers = {"accept": "application/json, */*", "content-type": content}
        for one in self._settings.auth_settings().values():
            headers[one["key"]] = one["value"]
        try:
            answer = self._pool.request(
                method,
                f"{self.url}{path}{'?' if given else ''}{given}",
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=5, read=None) if stream else _TIMEOUT,
                retries=urllib3.Retry(3, backoff_factor=0.3, allowed_methods=["GET"], status=0),
                preload_content=not stream,
            )
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise Unavailable(
                f"the cluster at {self.url} (context {self.context}) does not answer: {reason}",
                "is it up, and does this machine reach it? Another one: inv k8s.target --context CONTEXT",
            ) from error
        if date := answer.headers.get("date"):
            self._ahead = parsedate_to_datetime(date) - datetime.now(UTC)
        if answer.status >= 400:
            data = answer.read() if stream else answer.data
            raise Refused(answer.status, data, f"{method} {path}")
        return answer


def kubeconfig() -> str:
    """Return the kubeconfig's path, as kubectl would find it."""
    return os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def contexts() -> tuple[list[str], str]:
    """Return the names of the kubeconfig's contexts, and that of the current one."""
    try:
        every, current = _config.list_kube_config_contexts(config_file=kubeconfig())
    except ConfigException as error:
        raise UsageError(f"no Kubernetes cluster is known here: {error}", "set KUBECONFIG to a kubeconfig") from error
    return [str(one["name"]) for one in every], str((current or {}).get("name", ""))


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
