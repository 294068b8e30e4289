"""What `doctor` looks at around noetl, none of which it needs to run: Docker and Kubernetes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from noetl.ops.finding import NOTE, OK, WARN, Finding
from noetl.settings import Settings

_WITHIN = 3


def docker(_settings: Settings) -> list[Finding]:
    """Look whether a Docker Engine answers."""
    from docker.errors import DockerException

    import docker as engines

    started = time.perf_counter()
    try:
        with contextlib.closing(engines.from_env(timeout=_WITHIN)) as engine:
            found = engine.version()
    except (DockerException, OSError, ValueError) as error:
        hint = "only steps of kind container and images need it; DOCKER_HOST says where it is"
        return [Finding("docker", NOTE, f"no Docker Engine answers: {_short(error)}", hint)]
    taken = round((time.perf_counter() - started) * 1000, 2)
    return [Finding("docker", OK, f"Docker Engine {found.get('Version')}, {found.get('Os')}/{found.get('Arch')}", ms=taken)]


def kubernetes(_settings: Settings) -> list[Finding]:
    """Look whether the cluster of the kubeconfig's context answers."""
    places = [Path(one) for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one] or [Path.home() / ".kube" / "config"]
    if not any(path.is_file() for path in places):
        return [Finding("kubernetes", NOTE, f"no kubeconfig at {', '.join(map(str, places))}")]
    import kubernetes as cluster
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    config: Any = cluster.config
    client: Any = cluster.client
    try:
        _, active = config.list_kube_config_contexts()
        context = str(active["name"])
        settings = client.Configuration()
        config.load_kube_config(context=context, client_configuration=settings)
        settings.retries = False
        started = time.perf_counter()
        with client.ApiClient(settings) as connected:
            version = client.VersionApi(connected).get_code(_request_timeout=_WITHIN).git_version
    except config.ConfigException as error:
        return [Finding("kubernetes", NOTE, f"the kubeconfig names no usable context: {_short(error)}", "see: kubectl config get-contexts")]
    except (ApiException, HTTPError, OSError) as error:
        return [Finding("kubernetes", WARN, f"the context {context} does not answer: {_short(error)}", "see: kubectl config get-contexts")]
    taken = round((time.perf_counter() - started) * 1000, 2)
    return [Finding("kubernetes", OK, f"{version}, context {context}", ms=taken)]


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
