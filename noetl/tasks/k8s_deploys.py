"""Kubernetes: the verbs that change what is deployed."""

from __future__ import annotations

import sys
from typing import Any

from invoke.context import Context

from noetl.errors import UsageError
from noetl.tasks.flags import BUILDING, ENVIRONMENT, JSON, SETS
from noetl.tasks.verb import note, say, verb

IMAGE = {
    "image": "the image, by a tag or a digest (default: the last build's, else the deployed one)",
    "platform": "what servers and workers are bound to, such as linux/arm64 (default: what the image was built for)",
    "kube-version": "the version of Kubernetes to render for (default: the cluster's own)",
}
CHANGING = {
    "timeout": "seconds in which each part has to come up (default 300)",
    "take-over": "set what somebody else has set, too",
    "registry": "the registry that the nodes pull from, as in registry.example/team: the image is pushed there",
}
BUILT = {**BUILDING, "platform": "what to build for and bind servers and workers to (default: what the nodes are)"}
GOING_BACK = {"rollback-on-failure": "go back to the last good revision where the new one does not come up"}


@verb(iterable=["set_"], help={**ENVIRONMENT, **SETS, **IMAGE, "take-over": CHANGING["take-over"], **JSON})
def diff(
    _context: Context,
    env: str = "",
    set_: list[str] | None = None,
    image: str = "",
    platform: str = "",
    kube_version: str = "",
    take_over: bool = False,
    json: bool = False,
) -> None:
    """Show what a deploy would change in the cluster.

    By its own dry run: nothing is written; values of Secrets are not shown. What the cluster would refuse is said as a deploy would say it.
    """
    from noetl.ops import answers, apply, cluster, intent, target
    from noetl.ops.cluster import Options

    api = target.connect(env)
    wanted = intent.form(api, env, set_ or [], image=image, platform=platform, kube_version=kube_version, bring=False)
    changes, gone, kept = cluster.plan(api, wanted.namespace, wanted.revision.documents, Options(take_over=take_over))
    if json:
        actions = [{"object": one.title, "action": one.action} for one in changes]
        deleted = [{"object": apply.title(one), "action": "delete"} for one in gone]
        say(answers.as_json({"context": api.context, "namespace": wanted.namespace, "changes": actions + deleted}))
        return
    for one in gone:
        note(f"{apply.title(one)}: would be deleted, nothing names it any more")
    for one in kept:
        note(f"{apply.title(one)}: nothing names it any more; it stays")
    if shown := apply.difference(changes):
        say(shown)
    elif not gone:
        note("nothing would change")


@verb(iterable=["set_"], help={**ENVIRONMENT, **SETS, **IMAGE, **CHANGING, **GOING_BACK, **JSON})
def deploy(
    _context: Context,
    env: str = "",
    set_: list[str] | None = None,
    image: str = "",
    platform: str = "",
    kube_version: str = "",
    registry: str = "",
    timeout: float = 300.0,
    take_over: bool = False,
    rollback_on_failure: bool = False,
    json: bool = False,
) -> None:
    """Deploy what values and image say, and wait for it.

    The cluster is asked first: what it would refuse is explained, and nothing is changed. Nothing changed: nothing is written.
    Old pods serve until new ones do. What does not come up is explained; Ctrl-C leaves nothing locked.
    """
    from noetl.ops import cluster, intent, target
    from noetl.ops.cluster import Options

    api = target.connect(env)
    wanted = intent.form(api, env, set_ or [], image=image, platform=platform, kube_version=kube_version, registry=registry, progress=note)
    options = Options(timeout, take_over, rollback_on_failure, note)
    _say_deployed(api, wanted.namespace, cluster.deploy(api, wanted.namespace, wanted.revision, options), json)


@verb(iterable=["set_", "build_arg"], help={**ENVIRONMENT, **SETS, **BUILT, **CHANGING, **GOING_BACK, **JSON})
def redeploy(
    _context: Context,
    env: str = "",
    set_: list[str] | None = None,
    platform: str = "",
    no_cache: bool = False,
    build_arg: list[str] | None = None,
    network: str = "",
    registry: str = "",
    timeout: float = 300.0,
    take_over: bool = False,
    rollback_on_failure: bool = True,
    json: bool = False,
) -> None:
    """Build the image, bring it to the nodes, and deploy it.

    A platform that no node has is refused before anything is built. What does not come up makes place
    for the last good revision, unless --no-rollback-on-failure.
    """
    from noetl.ops import cluster
    from noetl.ops.cluster import Options

    api, wanted = _built(env, set_ or [], platform, no_cache, build_arg or [], network, registry)
    options = Options(timeout, take_over, rollback_on_failure, note)
    _say_deployed(api, wanted.namespace, cluster.deploy(api, wanted.namespace, wanted.revision, options, "redeploy"), json)


@verb(
    iterable=["set_", "build_arg"],
    help={
        **ENVIRONMENT,
        **SETS,
        **BUILT,
        **CHANGING,
        **JSON,
        "image": "an image that is there, in place of a build",
        "yes": "do not ask; outside clusters for tests it is asked for the namespace's name",
    },
)
def reset(
    _context: Context,
    env: str = "",
    set_: list[str] | None = None,
    image: str = "",
    platform: str = "",
    no_cache: bool = False,
    build_arg: list[str] | None = None,
    network: str = "",
    registry: str = "",
    timeout: float = 300.0,
    take_over: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Delete all executions and playbooks; deploy anew.

    Credentials and variables go too. The image is built, brought to the nodes and proven there first; then servers and workers are
    stopped, the schema is made anew, and everything is deployed.
    """
    from noetl.ops import intent, layers, target
    from noetl.ops import reset as resetting
    from noetl.ops.cluster import Options

    api = target.connect(env)
    values = layers.load_values(layers.FOLDER, env or None, set_ or [])
    if not yes and not target.is_for_tests(api):
        _confirm(f"This deletes all executions, playbooks and credentials in namespace {values.namespace} of {api.url}", values.namespace)
    if image:
        wanted = intent.form(api, env, set_ or [], image=image, platform=platform)
    else:
        api, wanted = _built(env, set_ or [], platform, no_cache, build_arg or [], network, registry)
    options = Options(timeout, take_over, False, note)
    done = resetting.reset(api, wanted.namespace, wanted.revision, values.postgres.database, options)
    _say_deployed(api, wanted.namespace, done, json)


@verb(
    help={
        **ENVIRONMENT,
        **JSON,
        "volumes": "delete the volumes too, and the passwords and the key to what is on them",
        "yes": "do not ask; outside clusters for tests --volumes asks for the namespace's name",
    }
)
def remove(_context: Context, env: str = "", volumes: bool = False, yes: bool = False, json: bool = False) -> None:
    """Delete what was deployed; data stays.

    The volumes stay, and the Secret of passwords without which they are worth nothing, unless --volumes. Says what stays.
    """
    from noetl.ops import answers, cluster, layers, target
    from noetl.ops.cluster import Options

    api = target.connect(env)
    namespace = layers.load_values(layers.FOLDER, env or None).namespace
    if volumes and not yes and not target.is_for_tests(api):
        _confirm(f"This deletes all data in namespace {namespace} of {api.url}", namespace)
    removed, stays = cluster.remove(api, namespace, Options(progress=note), volumes=volumes)
    if json:
        say(answers.as_json({"context": api.context, "namespace": namespace, "deleted": removed, "kept": stays}))
        return
    say(f"deleted {len(removed)} objects of namespace {namespace}" + (f"; kept: {', '.join(stays)}" if stays else ""))
    if any(one.startswith("persistentvolumeclaim/") for one in stays) and not volumes:
        note("a deploy goes on with that data; to delete it too: inv k8s.remove --volumes")


@verb(
    help={
        **ENVIRONMENT,
        **JSON,
        "revision": "its number, as k8s.history shows it (default: the last good one before)",
        "timeout": CHANGING["timeout"],
    }
)
def rollback(_context: Context, revision: int = 0, env: str = "", timeout: float = 300.0, json: bool = False) -> None:
    """Bring back a former revision: its image, its values.

    The one before, or that of a number: inv k8s.rollback 3
    The database's schema stays as it is: it is made so that the version before can use it.
    """
    from noetl.ops import cluster, layers, target
    from noetl.ops.cluster import Options

    api = target.connect(env)
    namespace = layers.load_values(layers.FOLDER, env or None).namespace
    done = cluster.rollback(api, namespace, revision or None, Options(timeout=timeout, take_over=True, progress=note))
    _say_deployed(api, namespace, done, json)


def _built(env: str, sets: list[str], platform: str, no_cache: bool, build_args: list[str], network: str, registry: str) -> Any:
    """Build for the nodes of the target, and form what is to be deployed of it."""
    from noetl.ops import cluster, image, intent, layers, target
    from noetl.tasks.checkout import checkout
    from noetl.tasks.image import pairs

    folder = checkout()
    api = target.connect(env)
    layers.load_values(layers.FOLDER, env or None, sets)
    build = image.build(
        folder,
        platform=platform,
        architectures=cluster.architectures(api),
        cluster=f"the cluster of context {api.context}",
        no_cache=no_cache,
        build_args=pairs(build_args),
        network=network,
        progress=note,
    )
    return api, intent.form(api, env, sets, build=build, registry=registry, progress=note)


def _say_deployed(api: Any, namespace: str, done: Any, json: bool) -> None:
    from noetl.ops import answers

    if json:
        found = {"context": api.context, "namespace": namespace, "revision": done.revision}
        say(answers.as_json({**found, "changed": done.changed, "deleted": done.deleted, "kept": done.kept}))
        return
    for title in done.kept:
        note(f"{title}: nothing names it any more; it stays")
    where = f"namespace {namespace} of context {api.context}"
    if not done.changed and not done.deleted:
        say(f"{where}: nothing changed; revision {done.revision} is up")
    else:
        say(f"{where}: revision {done.revision} is up; {len(done.changed)} written, {len(done.deleted)} deleted")


def _confirm(what: str, namespace: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{what}. It was not confirmed", "if that is meant: --yes")
    sys.stderr.write(f"{what}. The namespace's name, to confirm: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != namespace:
        raise UsageError("that is another name: nothing was changed", f"the name is {namespace}")
