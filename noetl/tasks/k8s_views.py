"""Kubernetes: the verbs that look at what is deployed, and the one that says where."""

from __future__ import annotations

from invoke.context import Context

from noetl.tasks.flags import ENVIRONMENT, JSON
from noetl.tasks.verb import finish, note, say, verb


@verb(help={**ENVIRONMENT, **JSON, "context": "a context of the kubeconfig (default: say which is pinned)"})
def target(_context: Context, context: str = "", env: str = "", json: bool = False) -> None:
    """Pin the cluster that the verbs go to, or say which it is.

    Its context, URL and UID are kept in .noetl/target.json. The kubeconfig is only read: its current context does not matter any more.
    A context that leads to another cluster later is refused.
    """
    from dataclasses import asdict

    from noetl.errors import NotFound
    from noetl.ops import answers
    from noetl.ops import target as targets

    found = targets.pin(context, env) if context else targets.read(env)
    if found is None:
        raise NotFound("no target is pinned", "inv k8s.target --context CONTEXT" + (f" --env {env}" if env else ""))
    say(answers.as_json(asdict(found)) if json else f"context {found.context}: {found.url} (UID {found.uid})")


@verb(help={**ENVIRONMENT, **JSON})
def status(_context: Context, env: str = "", json: bool = False) -> None:
    """Show what is deployed: workloads, pods, volumes.

    Exit code 1 where something of it is not up; it says why.
    """
    from noetl.ops import answers, installed, layers
    from noetl.ops import target as targets

    api = targets.connect(env)
    found = installed.status(api, layers.load_values(layers.FOLDER, env or None).namespace)
    finish(answers.as_json(found) if json else installed.as_text(found), 0 if found["up"] else 1)


@verb(help={**ENVIRONMENT, **JSON})
def history(_context: Context, env: str = "", json: bool = False) -> None:
    """List the revisions that were deployed, the newest last."""
    from noetl.ops import answers, layers, revision, tables
    from noetl.ops import target as targets

    api = targets.connect(env)
    namespace = layers.load_values(layers.FOLDER, env or None).namespace
    rows = [one.row() for one in revision.history(api, namespace)]
    if json:
        say(answers.as_json({"context": api.context, "namespace": namespace, "revisions": rows}))
    elif rows:
        say(tables.table(rows, ("revision", "status", "when", "who", "image", "note")))
    else:
        say(f"nothing was deployed to namespace {namespace}\n  deploy it: inv k8s.redeploy")


@verb(
    auto_shortflags=True,
    help={
        **ENVIRONMENT,
        "name": "server, worker, postgres …, or a pod's name (default: all of them)",
        "follow": "go on with the lines to come, of new pods too",
        "lines": "how many of the last lines of each pod (default 50)",
        "previous": "of the container that ran before, as after a crash",
    },
)
def logs(_context: Context, name: str = "", follow: bool = False, lines: int = 50, previous: bool = False, env: str = "") -> None:
    """Show the logs of what is deployed."""
    from noetl.errors import UsageError
    from noetl.ops import layers, pod_logs
    from noetl.ops import target as targets

    if lines < 0:
        raise UsageError(f"--lines {lines} is less than none", "--lines 50")
    if follow and previous:
        raise UsageError("a container that ran before writes nothing more", "leave one out: --follow or --previous")
    api = targets.connect(env)
    namespace = layers.load_values(layers.FOLDER, env or None).namespace
    if follow:
        for pod, line in pod_logs.follow(api, namespace, name, lines):
            say(f"{pod}: {line}")
        return
    pods = pod_logs.find(api, namespace, name)
    if not pods:
        note(f"no pods of {name or 'noetl'} are in namespace {namespace}\n  see what is there: inv k8s.status")
    for one in pods:
        for line in pod_logs.last(api, one, lines, previous=previous):
            say(f"{one['metadata']['name']}: {line}" if len(pods) > 1 else line)


@verb(
    help={
        **ENVIRONMENT,
        "port": "the port of this machine (default 8082; 0: any that is free)",
        "host": "the address to listen on (default 127.0.0.1)",
    }
)
def forward(_context: Context, env: str = "", port: int = 8082, host: str = "127.0.0.1") -> None:
    """Lead a port of this machine to the server, until Ctrl-C.

    What the verbs need to find it from another terminal is meanwhile in the private file .noetl/forward.env.
    """
    from noetl.ops import ending, layers
    from noetl.ops import forward as forwarding
    from noetl.ops import target as targets

    api = targets.connect(env)
    namespace = layers.load_values(layers.FOLDER, env or None).namespace
    forwarding.ready_pod(api, namespace)
    with ending.as_interrupts(), forwarding.listening(host, port) as listener:
        url = f"http://{host}:{listener.getsockname()[1]}"
        with forwarding.environment(api, namespace, url) as file:
            say(f"{url} leads to the server in namespace {namespace} of context {api.context}")
            note(f"in another terminal: . {file}; noetl execution list")
            forwarding.serve(api, namespace, listener, note)
