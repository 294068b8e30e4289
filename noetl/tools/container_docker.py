"""Containers run by a Docker Engine."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import LogConfig
from requests.exceptions import RequestException

import docker
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.container_spec import Spec, finished, tail
from noetl.tools.leftovers import noted

_COMMAND, _RUN = "io.noetl.command", "io.noetl.run"
_ANSWER_WITHIN = 60


def run(spec: Spec, call: Call) -> Json:
    """Run a container and remove it; one that an earlier holder of the same command has left is removed first."""
    mark = uuid.uuid4().hex
    with contextlib.closing(_engine()) as engine, noted(call.workdir, {"where": "docker", "run": mark}):
        try:
            _remove_all(engine, f"{_COMMAND}={call.idempotency_key}")
            _provide(engine, spec)
            container = _created(engine, spec, call, mark)
            try:
                container.start()
                code = int(container.wait(timeout=call.timeout + _ANSWER_WITHIN)["StatusCode"])
                return finished(spec, _result(container, spec, code), _reason(container))
            finally:
                container.remove(force=True, v=True)
        except APIError as error:
            raise ToolError(f"Docker Engine: {error.explanation or error}", type="container") from error
        except (DockerException, RequestException) as error:
            raise ToolError(f"Docker Engine: {error}", type="container") from error


def remove(note: Mapping[str, str]) -> None:
    """Remove what a run has left."""
    with contextlib.closing(_engine()) as engine:
        _remove_all(engine, f"{_RUN}={note['run']}")


def _engine() -> docker.DockerClient:
    try:
        engine = docker.from_env(timeout=_ANSWER_WITHIN)
        engine.ping()
    except (DockerException, RequestException) as error:
        raise ToolError(
            f"no Docker Engine answers this worker ({error}): start one, set DOCKER_HOST, or give runtime a provider: kubernetes",
            type="container",
        ) from error
    return engine


def _provide(engine: docker.DockerClient, spec: Spec) -> None:
    """See to it that the image is there."""
    if spec.pull != "always":
        with contextlib.suppress(ImageNotFound):
            engine.images.get(spec.image)
            return
        if spec.pull == "never":
            raise ToolError(f"there is no image {spec.image} here, and pull is never", type="image_not_found")
    try:
        engine.images.pull(*(spec.image,) if "@" in spec.image or ":" in spec.image.rpartition("/")[2] else (spec.image, "latest"))
    except (APIError, DockerException) as error:
        reason = getattr(error, "explanation", None) or error
        raise ToolError(f"the image {spec.image} cannot be pulled: {reason}", type="image_not_found") from error


def _created(engine: docker.DockerClient, spec: Spec, call: Call, mark: str) -> Container:
    options: dict[str, Any] = {
        "command": spec.args or None,
        "entrypoint": spec.command or None,
        "environment": spec.env,
        "working_dir": spec.workdir or None,
        "mem_limit": spec.memory or None,
        "nano_cpus": int(spec.cpu * 10**9) or None,
        "volumes": spec.runtime.get("volumes"),
        "network": spec.runtime.get("network"),
        "labels": {_COMMAND: call.idempotency_key, _RUN: mark, "io.noetl.step": call.step},
        "log_config": LogConfig(type="json-file", config={"max-size": "16m", "max-file": "2"}),
        "init": True,
    }
    return engine.containers.create(spec.image, **{name: value for name, value in options.items() if value})


def _result(container: Container, spec: Spec, code: int) -> dict[str, Json]:
    return {
        "exit_code": code,
        "stdout": _output(container, stdout=True),
        "stderr": _output(container, stdout=False),
        "image": spec.image,
        "provider": "docker",
    }


def _output(container: Container, *, stdout: bool) -> str:
    """Return one of the streams; the engine itself keeps a bounded end of both."""
    return tail(container.logs(stdout=stdout, stderr=not stdout))


def _reason(container: Container) -> str:
    container.reload()
    return "out of memory" if container.attrs["State"].get("OOMKilled") else ""


def _remove_all(engine: docker.DockerClient, label: str) -> None:
    for container in engine.containers.list(all=True, filters={"label": label}, ignore_removed=True):
        with contextlib.suppress(NotFound):
            container.remove(force=True, v=True)
