"""A port of this machine that leads to the server in the cluster, through the cluster's API."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from noetl.errors import NoetlError, NotFound, Unavailable
from noetl.ops import diagnosis, project_folder
from noetl.ops.kube_api import Api

FILE = project_folder.NAME / "forward.env"
_SELECTOR = "app=noetl-server"


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on a port of this machine; 0 is any that is free."""
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise Unavailable(f"port {port} of {host} is taken: {error.strerror}", "another one: inv k8s.forward --port 18082") from error
    with listener:
        yield listener


def serve(api: Api, namespace: str, listener: socket.socket, progress: Callable[[str], None]) -> None:
    """Lead every connection to a server's pod that is ready, until interrupted; each finds its pod anew."""
    ready_pod(api, namespace)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_lead, args=(api, namespace, connection, progress), daemon=True).start()


def ready_pod(api: Api, namespace: str) -> tuple[str, int]:
    """Return a server's pod that is ready, and its port."""
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods", _SELECTOR)
    for pod in pods:
        if diagnosis.state(pod) == "ready":
            return str(pod["metadata"]["name"]), int(pod["spec"]["containers"][0]["ports"][0]["containerPort"])
    raise NotFound(f"no server in namespace {namespace} is ready; of its pods there are {len(pods)}", "see why: inv k8s.status")


@contextlib.contextmanager
def environment(api: Api, namespace: str, url: str) -> Iterator[Path]:
    """Keep a private file meanwhile, with the variables by which the verbs of another terminal find the server."""
    with kept(f"export NOETL_SERVER_URL={url}\nexport NOETL_API_TOKEN={_token(api, namespace)}\n") as file:
        yield file


@contextlib.contextmanager
def kept(text: str) -> Iterator[Path]:
    """Keep a text in the private file meanwhile. Of several the last has it: whoever ends removes only what it wrote itself."""
    project_folder.make()
    written = FILE.with_suffix(f".{os.getpid()}")
    with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123 - with its mode from the start
        file.write(text)
    written.replace(FILE)
    try:
        yield FILE
    finally:
        with contextlib.suppress(FileNotFoundError):
            if FILE.read_text() == text:
                FILE.unlink()


def _token(api: Api, namespace: str) -> str:
    """Read the API's token out of the Secret that the server reads it from."""
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods", _SELECTOR)
    for variable in (one for pod in pods for one in pod["spec"]["containers"][0].get("env", ())):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if variable["name"] == "NOETL_API_TOKEN" and reference:
            secret = api.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{reference['name']}")
            return base64.b64decode(secret["data"][reference["key"]]).decode()
    raise NotFound(f"no server in namespace {namespace} has a token", "see what is deployed: inv k8s.status")


def _lead(api: Api, namespace: str, connection: socket.socket, progress: Callable[[str], None]) -> None:
    with connection:
        try:
            pod, port = ready_pod(api, namespace)
            far = api.connect(namespace, pod, port)
        except NoetlError as error:
            progress(error.message)
            return
        with contextlib.closing(far):
            back = threading.Thread(target=_pump, args=(far.socket(port), connection), daemon=True)
            back.start()
            _pump(connection, far.socket(port))
            back.join()
            if broken := far.error(port):
                progress(f"pod {pod}: {broken.strip()}")


def _pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
