"""Beginning anew in a cluster: the image is proven first, then the schema is made anew, then everything is deployed."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from noetl.errors import NoetlError
from noetl.ops import apply, cluster, lease, revision, rollout
from noetl.ops.cluster import Deployed, Options
from noetl.ops.kube_api import Api, Document
from noetl.ops.revision import Revision

_GONE_WITHIN = 120.0
_PROVE = ["python", "-c", "import noetl.server.app, noetl.worker.loop"]


def reset(api: Api, namespace: str, new: Revision, database: str, options: Options) -> Deployed:
    """Delete all executions, results, playbooks and credentials of an installation, and deploy; where nothing is deployed, only deploy."""
    cluster.plan(api, namespace, new.documents, options)
    job = next((one for one in new.documents if one["kind"] == "Job"), None)
    running = [one for one in new.documents if one["kind"] == "Deployment" and api.find(api.path(one)) is not None]
    if not running or job is None:
        return cluster.deploy(api, namespace, new, options)
    with lease.held(api, namespace, "reset"):
        _run(api, _one_off(job, "noetl-prove", _PROVE), options)
        options.progress(f"{new.image}: runs in the cluster")
        good = revision.current(revision.history(api, namespace))
        back = f"inv k8s.rollback {good.number}" if good else "inv k8s.deploy"
        stopped = f"servers and workers are stopped; to go on: inv k8s.reset; to start them as they were: {back}"
        try:
            _stop(api, running, options)
            _run(api, _one_off(job, "noetl-reset", ["noetl", "db", "reset", "--database", database]), options)
        except NoetlError as error:
            error.hint = f"{stopped}. {error.hint}"
            raise
        except KeyboardInterrupt:
            options.progress(stopped)
            raise
        return cluster.recorded(api, namespace, replace(new, note="reset"), options)


def _one_off(job: Document, name: str, command: Sequence[str]) -> Document:
    """Return a Job like another, that runs one command once."""
    made = copy.deepcopy(job)
    made["metadata"]["name"] = f"{name}-{secrets.token_hex(4)}"
    made["spec"]["backoffLimit"] = 0
    made["spec"]["template"]["spec"]["containers"][0]["command"] = list(command)
    return made


def _run(api: Api, job: Document, options: Options) -> None:
    try:
        apply.perform(api, apply.Change(job, "create", None, job))
        rollout.watch(api, [job], timeout=options.timeout, progress=options.progress)
    finally:
        api.delete(api.path(job))


def _stop(api: Api, deployments: Sequence[Document], options: Options) -> None:
    """Scale Deployments to nothing and wait until their pods are gone."""
    for one in deployments:
        stopped = {**one, "spec": {**one["spec"], "replicas": 0}}
        apply.perform(api, apply.Change(stopped, "change", one, stopped), take_over=True)
        options.progress(f"{apply.title(one)}: stopping")
    deadline = time.monotonic() + _GONE_WITHIN
    for one in deployments:
        labels = ",".join(f"{key}={value}" for key, value in one["spec"]["selector"]["matchLabels"].items())
        while api.items(f"/api/v1/namespaces/{one['metadata']['namespace']}/pods", labels):
            if time.monotonic() > deadline:
                raise NoetlError(f"pods of {apply.title(one)} are still there after two minutes", "see why: inv k8s.status")
            time.sleep(0.5)
