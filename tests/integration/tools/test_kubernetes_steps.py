"""Containers as Jobs of a real Kubernetes cluster: set NOETL_TEST_KUBECONFIG, and NOETL_TEST_IMAGE to an image with a shell on its node."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from noetl.worker.sandbox import Done, Failed

IMAGE = os.environ.get("NOETL_TEST_IMAGE", "noetl-test/python:3.11")


@pytest.fixture
async def cluster(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = os.environ.get("NOETL_TEST_KUBECONFIG")
    if not path:
        pytest.skip("LOUD SKIP: no Kubernetes cluster: set NOETL_TEST_KUBECONFIG")
    monkeypatch.setenv("KUBECONFIG", path)
    return await make_bench()


def jobs(key: str) -> list[Any]:
    from kubernetes import client, config

    from noetl.tools.container_kubernetes import _label

    config.load_kube_config(os.environ["KUBECONFIG"])
    selector = f"noetl.io/command={_label(key)}"
    with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        return [
            *client.BatchV1Api(api).list_namespaced_job("default", label_selector=selector).items,
            *core.list_namespaced_secret("default", label_selector=selector).items,
        ]


def container(script: str, **runtime: Any) -> dict[str, Any]:
    return {"runtime": {"provider": "kubernetes", "image": IMAGE, "command": script, "pull": "never", **runtime}}


async def test_output_and_failures(cluster: Any) -> None:
    config = {**container('echo "$A $NOETL_IDEMPOTENCY_KEY $PWD"', workdir="/tmp", memory="64Mi", cpu=0.1), "env": {"A": "{{ n }}"}}
    outcome = await cluster.run("container", config, scope={"n": 1}, idempotency_key="e1:k8s", timeout=60)
    assert isinstance(outcome, Done), outcome
    result = orjson.loads(outcome.result_json)
    assert (result["stdout"], result["exit_code"], result["provider"]) == ("1 e1:k8s /tmp\n", 0, "kubernetes")
    outcome = await cluster.run("container", container("echo broken; exit 3"), idempotency_key="e1:k8s", timeout=60)
    assert isinstance(outcome, Failed)
    assert outcome.error == {"type": "exit_code", "message": f"exit code 3 from a container of {IMAGE}\nbroken"}
    outcome = await cluster.run("container", container("true", image="noetl-test/none:1"), idempotency_key="e1:k8s", timeout=60)
    assert (outcome.error["type"], "ErrImageNeverPull" in outcome.error["message"]) == ("image_not_found", True)
    assert await asyncio.to_thread(jobs, "e1:k8s") == []


async def test_a_job_goes_with_its_step(cluster: Any) -> None:
    job = cluster.job("container", container("sleep 100"), idempotency_key="e1:k8s-killed", timeout=60)
    running = asyncio.create_task(cluster.sandbox.run(job))
    deadline = time.monotonic() + 30
    while len(await asyncio.to_thread(jobs, "e1:k8s-killed")) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    cluster.sandbox.kill(job.key)
    assert (await running).error["type"] == "killed"
    assert await asyncio.to_thread(jobs, "e1:k8s-killed") == []


SCRIPT = """import json, os
args = json.load(open(os.environ["NOETL_ARGS"]))
print("working", os.getcwd())
print(json.dumps({"sum": sum(args["numbers"]), "word": os.environ["WORD"], "big": args["big"]}))
"""


async def test_a_script_runs_as_a_job(cluster: Any, tmp_path: Path) -> None:
    file = tmp_path / "sum.py"
    file.write_text(SCRIPT)
    job = {"image": IMAGE, "pull": "never", "workdir": "/tmp", "env": {"WORD": "{{ word }}"}, "resources": {"limits": {"memory": "128Mi"}}}
    config = {"script": {"uri": str(file), "source": {"type": "file"}}, "job": job}
    more = {"args": {"numbers": "{{ numbers }}", "big": 2**80}, "scope": {"word": "{{ kept }}", "numbers": [1, 2]}, "timeout": 60}
    outcome = await cluster.run("script", config, idempotency_key="e1:script", **more)
    assert isinstance(outcome, Done), outcome
    result = json.loads(outcome.result_json)
    assert (result["exit_code"], result["stdout"].splitlines()[0]) == (0, "working /tmp")
    assert result["data"] == {"sum": 3, "word": "{{ kept }}", "big": 2**80}
    inline = {"uri": "x", "source": {"type": "inline", "code": "raise SystemExit('it is {{ word }}')"}}
    outcome = await cluster.run("script", {**config, "script": inline}, idempotency_key="e1:script", **more)
    assert isinstance(outcome, Failed)
    assert outcome.error["type"] == "exit_code" and "it is {{ kept }}" in outcome.error["message"]
    shell = {**job, "command": ["sh", "/noetl/script"]}
    inline = {"uri": "x", "source": {"type": "inline", "code": "cat $NOETL_ARGS"}}
    outcome = await cluster.run("script", {"script": inline, "job": shell}, idempotency_key="e1:script", **more)
    assert json.loads(outcome.result_json)["data"] == {"numbers": [1, 2], "big": 2**80}
    assert await asyncio.to_thread(jobs, "e1:script") == []
