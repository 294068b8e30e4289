"""The `script` tool: a script that is loaded from where it is kept, run in a container of its own as a Kubernetes Job."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from noetl.engine.value import dumps, loads
from noetl.tools.base import Call, Json, ToolError
from noetl.tools.container_spec import FILES, Provider, spec_of

IMAGE = "python:3.12-slim"
_SCRIPT, _ARGS = f"{FILES}/script", f"{FILES}/args.json"


def run(call: Call) -> Json:
    """Run the script; the result is the container's, with `data` from the last line of its output where that is JSON."""
    job = call.config.get("job") or {}
    if not isinstance(job, Mapping):
        raise ToolError("job is a mapping: job: {image: NAME:TAG, namespace: NAME}", type="config")
    spec = spec_of(call, _runtime(job))
    files = {"script": str(call.config["code"]), "args.json": dumps(call.args).decode()}
    spec = replace(spec, env={**spec.env, "NOETL_ARGS": _ARGS}, files=files)
    provider = cast(Provider, importlib.import_module("noetl.tools.container_kubernetes"))
    result = provider.run(spec, call)
    assert isinstance(result, dict)
    return {**result, "data": _last_line(str(result.get("stdout") or ""))}


def _runtime(job: Mapping[str, Json]) -> dict[str, Json]:
    """Return what the job asks for in the words of a container; those of a Kubernetes manifest mean the same."""
    resources = job.get("resources")
    limits = resources.get("limits") if isinstance(resources, Mapping) else None
    found = {
        "image": IMAGE,
        "command": ["python", _SCRIPT],
        **{name: limits[name] for name in ("memory", "cpu") if isinstance(limits, Mapping) and limits.get(name)},
        **{name: value for name, value in job.items() if value not in (None, "", [])},
    }
    for written, name in (("imagePullPolicy", "pull"), ("image_pull_policy", "pull"), ("serviceAccountName", "service_account")):
        if job.get(written):
            found.setdefault(name, job[written])
    return found


def _last_line(output: str) -> Json:
    lines = output.strip().splitlines()
    try:
        return loads(lines[-1]) if lines else None
    except ValueError:
        return None
