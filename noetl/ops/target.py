"""Which cluster the verbs go to: a context that is pinned to the cluster that it led to, so that it never leads elsewhere unseen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noetl.errors import UsageError
from noetl.ops import project_folder

if TYPE_CHECKING:
    from noetl.ops.kube_api import Api

FILE = project_folder.NAME / "target.json"
_HERE = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True)
class Target:
    """A cluster: the context that leads to it, its API's URL, and its UID, which is that of its namespace kube-system."""

    context: str
    url: str
    uid: str


def read(environment: str = "") -> Target | None:
    """Return the target that is pinned for an environment of the values, if there is one."""
    found = _all().get(environment)
    return Target(**found) if found else None


def pin(context: str, environment: str = "") -> Target:
    """Pin the target of an environment to the cluster that a context of the kubeconfig leads to now."""
    from noetl.ops import kube_api

    known, current = kube_api.contexts()
    name = context or current
    if name not in known:
        raise UsageError(f"{kube_api.kubeconfig()} has no context {name!r}", f"it has: {', '.join(known)}")
    return _pin(kube_api.Api(name), environment)


def connect(environment: str = "") -> Api:
    """Connect to an environment's target.

    A pinned context that leads to another cluster now is refused. Where nothing is pinned yet, the current context is, if its cluster is
    on this machine.
    """
    from noetl.ops import kube_api

    flag = f" --env {environment}" if environment else ""
    target = read(environment)
    if target is None:
        known, current = kube_api.contexts()
        if current not in known:
            raise UsageError("no target is pinned, and the kubeconfig has no current context", f"inv k8s.target --context CONTEXT{flag}")
        api = kube_api.Api(current)
        if urlsplit(api.url).hostname not in _HERE:
            raise UsageError(
                f"no target is pinned, and the current context {current} leads to {api.url}, which is not on this machine",
                f"if that is the one: inv k8s.target --context {current}{flag}",
            )
        _pin(api, environment)
        return api
    api = kube_api.Api(target.context)
    now = Target(target.context, api.url, uid(api))
    if now.uid != target.uid:
        raise UsageError(
            f"context {target.context} now leads to another cluster: pinned is {target.url} (UID {target.uid}), "
            f"it leads to {now.url} (UID {now.uid})",
            f"if you mean the new one: inv k8s.target --context {target.context}{flag}",
        )
    return api


def uid(api: Api) -> str:
    """Return what tells a cluster from every other: the UID of its namespace kube-system."""
    return str(api.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"])


def is_for_tests(api: Api) -> bool:
    """Tell whether a cluster is one that loses nothing when it is emptied: kind, k3d, minikube, or the one of the tests."""
    return api.context.startswith(("kind-", "k3d-")) or api.context in ("minikube", "noetl-test", "docker-desktop")


def _pin(api: Api, environment: str) -> Target:
    target = Target(api.context, api.url, uid(api))
    project_folder.make()
    written = FILE.with_suffix(".new")
    written.write_text(json.dumps({**_all(), environment: asdict(target)}, indent=2) + "\n")
    written.replace(FILE)
    return target


def _all() -> dict[str, dict[str, str]]:
    if not FILE.exists():
        return {}
    try:
        found: dict[str, dict[str, str]] = json.loads(FILE.read_text())
        return {name: {key: str(one[key]) for key in ("context", "url", "uid")} for name, one in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{FILE} cannot be read: {error}", "delete it, then: inv k8s.target --context CONTEXT") from error
