"""Kubernetes: the manifests and what becomes of them in a cluster."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

import noetl
from noetl.tasks.flags import JSON, SETS
from noetl.tasks.k8s_deploys import deploy, diff, redeploy, remove, reset, rollback
from noetl.tasks.k8s_views import forward, history, logs, status, target
from noetl.tasks.verb import note, say, verb

__all__ = [
    "deploy",
    "diff",
    "forward",
    "history",
    "logs",
    "redeploy",
    "remove",
    "render",
    "reset",
    "rollback",
    "status",
    "target",
    "values",
]
VALUES = {
    **SETS,
    "env": "the environment: k8s/ENV.yaml is laid over k8s/values.yaml",
}
RENDERING = {
    **VALUES,
    "image": "the image, by a tag or a digest (default: the last build's)",
    "platform": "nodes that servers and workers are bound to, such as linux/arm64 (default: the last build's)",
    "kube-version": "the cluster's version, which decides the versions of its APIs (default: the newest)",
}


@verb(
    iterable=["set_"],
    help={**RENDERING, **JSON, "output": "a folder, to write a file for each component into (default: all of it to stdout)"},
    auto_shortflags=True,
)
def render(
    _context: Context,
    output: str = "",
    image: str = "",
    platform: str = "",
    env: str = "",
    set_: list[str] | None = None,
    kube_version: str = "",
    json: bool = False,
) -> None:
    """Render the manifests from the values; needs no cluster.

    The values are templates/k8s/values.yaml, with k8s/values.yaml, k8s/ENV.yaml and --set laid over it.
    No secret is in what is rendered: they are made, or found, in the cluster.
    """
    from noetl.ops import answers, layers, manifests, rendered

    values = layers.load_values(layers.FOLDER, env or None, set_ or [])
    given, on = manifests.image_to_render(image, platform, Path(noetl.__file__).parent.parent)
    found = manifests.render(values, image=given, platform=on, kube_version=kube_version or manifests.NEWEST)
    files = [str(path) for path in rendered.write(found, Path(output))] if output else []
    if json:
        say(answers.as_json({"files": files} if output else rendered.as_list(found)))
    else:
        say("\n".join(files) or rendered.as_text(found).rstrip("\n"))
    note(f"{len(found)} manifests of {given.name} for Kubernetes {kube_version or manifests.NEWEST}")


@verb(
    iterable=["set_"],
    help={
        **VALUES,
        "defaults": "print the defaults, with what each value means",
        "schema": "print the JSON Schema of the values",
        **JSON,
    },
)
def values(
    _context: Context, env: str = "", set_: list[str] | None = None, defaults: bool = False, schema: bool = False, json: bool = False
) -> None:
    """Print the values that the manifests are rendered from.

    The file that --defaults prints is a good beginning of a k8s/values.yaml: keep what differs.
    """
    from noetl.ops import answers, layers
    from noetl.ops.values import Values

    if defaults:
        say(layers.defaults_text().rstrip("\n"))
    elif schema:
        say(answers.as_json(Values.model_json_schema()))
    else:
        found = layers.load_values(layers.FOLDER, env or None, set_ or [])
        say(answers.as_json(found.model_dump(mode="json")) if json else layers.as_text(found).rstrip("\n"))
