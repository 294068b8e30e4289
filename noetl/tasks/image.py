"""The verb that makes images."""

from __future__ import annotations

from dataclasses import asdict

from invoke.context import Context

from noetl.errors import UsageError
from noetl.tasks.checkout import checkout
from noetl.tasks.flags import BUILDING, JSON
from noetl.tasks.verb import note, say, verb


@verb(
    iterable=["build_arg"],
    help={
        **BUILDING,
        **JSON,
        "platform": "linux/amd64, linux/arm64 (default: what the target cluster's nodes are, else linux/amd64)",
        "tag": "tag or whole name (default: version-commit, with -dirty.HASH for what is not committed)",
        "registry": "what stands before the name, as in registry.example/team",
        "push": "push it to its registry",
        "env": "the environment of the values whose target cluster it is for",
    },
)
def build(
    _context: Context,
    platform: str = "",
    no_cache: bool = False,
    tag: str = "",
    registry: str = "",
    push: bool = False,
    build_arg: list[str] | None = None,
    network: str = "",
    env: str = "",
    json: bool = False,
) -> None:
    """Build the image of servers and workers.

    With docker buildx where it is there, else with the Docker Engine's own builder. Prints the image's name.
    """
    from noetl.ops import answers, image, target_nodes

    folder = checkout()
    context, nodes = target_nodes.find(env, note)
    built = image.build(
        folder,
        platform=platform,
        architectures=[one.architecture for one in nodes],
        cluster=f"the cluster of context {context}",
        no_cache=no_cache,
        tag=tag,
        registry=registry,
        push_to_registry=push,
        build_args=pairs(build_arg or []),
        network=network,
        progress=note,
    )
    say(answers.as_json(asdict(built)) if json else built.reference)


def pairs(given: list[str]) -> dict[str, str]:
    """Read the NAME=VALUE of --build-arg."""
    return dict(_pair(one) for one in given)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--build-arg {text!r} is no NAME=VALUE", "--build-arg PYTHON_IMAGE=python:3.13-slim")
    return name, value
