"""Containers on a real Docker Engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from outcomes import value

import docker
from noetl.tools.container_spec import KEPT, tail
from noetl.worker.sandbox import Failed


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of this machine's own shell and what that needs: no registry is asked."""
    programs = [path for name in ("sh", "sleep", "cat", "env", "seq", "head") if (path := shutil.which(name))]
    files = {os.path.realpath(path) for path in programs}
    for path in sorted(files):
        words = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout.split()
        files |= {word for word in words if word.startswith("/")}
    archive = tmp_path_factory.mktemp("image") / "image.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for path in sorted(files):
            tar.add(path)
        for path in programs:
            tar.add(path, f"/bin/{Path(path).name}")
    name = f"noetl-test/shell:{os.getpid()}"
    engine.api.import_image(str(archive), repository=name.partition(":")[0], tag=name.partition(":")[2], changes=["ENV PATH=/bin:/usr/bin"])
    yield name
    engine.images.remove(name, force=True)


def left(engine: docker.DockerClient, key: str) -> list[Any]:
    return engine.containers.list(all=True, filters={"label": f"io.noetl.command={key}"}, ignore_removed=True)


async def until(condition: Any, within: float = 15) -> None:
    deadline = time.monotonic() + within
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def container(image: str, script: str, **runtime: Any) -> dict[str, Any]:
    return {"runtime": {"provider": "docker", "image": image, "command": script, "pull": "never", **runtime}}


async def test_output_env_and_limits(bench: Any, engine: docker.DockerClient, image: str) -> None:
    bench.credentials["db"] = {"password": "canary-container"}
    keychain = ({"name": "db", "kind": "credential", "config": {"credential": "db"}},)
    script = 'echo "$A $NOETL_IDEMPOTENCY_KEY $PWD $1"; echo "$PASSWORD" >&2; cat /sys/fs/cgroup/memory.max 2>/dev/null; true'
    command = ["/bin/sh", "-c", script, "x"]
    config = container(image, "", command=command, args=["{{ args.word }}"], workdir="/tmp", memory="64Mi", cpu="500m")
    config["env"] = {"A": "{{ n }}", "PASSWORD": "{{ keychain.db.password }}"}
    outcome = await bench.run("container", config, scope={"n": 1}, args={"word": "last"}, keychain=keychain, idempotency_key="e1:out")
    result = value(outcome)
    assert result["stdout"].splitlines()[0] == "1 e1:out /tmp last"
    assert (result["stderr"], result["exit_code"], result["status"]) == ("***\n", 0, "success")
    assert left(engine, "e1:out") == []


async def test_a_failure_has_the_last_lines(bench: Any, engine: docker.DockerClient, image: str) -> None:
    outcome = await bench.run("container", container(image, "seq 1000; echo broken >&2; exit 3"), idempotency_key="e1:fails")
    assert isinstance(outcome, Failed)
    assert outcome.error["type"] == "exit_code"
    assert outcome.error["message"] == f"exit code 3 from a container of {image}\nbroken"
    result = orjson.loads(outcome.result_json or b"")
    assert result["stdout"].endswith("\n999\n1000\n")
    assert tail(b"x" * KEPT + b"end") == f"[the beginning is left out]\n{'x' * (KEPT - 3)}end"
    assert left(engine, "e1:fails") == []


async def test_an_image_that_there_is_not(bench: Any, image: str) -> None:
    outcome = await bench.run("container", container(f"{image}-none", "true"))
    assert (outcome.error["type"], "pull is never" in outcome.error["message"]) == ("image_not_found", True)
    outcome = await bench.run("container", container("127.0.0.1:1/none", "true", pull="missing"))
    assert (outcome.error["type"], "cannot be pulled" in outcome.error["message"]) == ("image_not_found", True)


async def test_nothing_is_left_after_a_timeout_or_a_kill(bench: Any, engine: docker.DockerClient, image: str) -> None:
    outcome = await bench.run("container", {**container(image, "sleep 100"), "timeout": 2}, idempotency_key="e1:slow")
    assert outcome.error["type"] == "timeout"
    assert left(engine, "e1:slow") == []
    job = bench.job("container", container(image, "sleep 100"), idempotency_key="e1:killed")
    running = asyncio.create_task(bench.sandbox.run(job))
    await until(lambda: left(engine, "e1:killed"))
    bench.sandbox.kill(job.key)
    assert (await running).error["type"] == "killed"
    assert left(engine, "e1:killed") == []


async def test_the_container_of_an_earlier_holder_is_removed(bench: Any, engine: docker.DockerClient, image: str) -> None:
    labels = {"io.noetl.command": "e1:again", "io.noetl.run": "another"}
    engine.containers.run(image, entrypoint=["/bin/sh", "-c", "sleep 100"], labels=labels, detach=True)
    assert value(await bench.run("container", container(image, "echo again"), idempotency_key="e1:again"))["stdout"] == "again\n"
    assert left(engine, "e1:again") == []


async def test_nothing_is_left_when_the_worker_is_killed(bench: Any, engine: docker.DockerClient, image: str) -> None:
    code = (
        "import asyncio, os, sys, pathlib\n"
        "from noetl.playbook.model import Tool\n"
        "from noetl.worker.sandbox import Job, Sandbox\n"
        "async def fetch(*_): raise RuntimeError\n"
        "async def go():\n"
        "    box = Sandbox(size=1, memory=2**30, workdir=pathlib.Path(sys.argv[1]), environ=os.environ, fetch=fetch)\n"
        "    runtime = {'provider': 'docker', 'image': sys.argv[2], 'command': 'sleep 100', 'pull': 'never'}\n"
        "    await box.run(Job(key=('e9', 1, 1), step='s', tool=Tool('container', {'runtime': runtime}, {}), idempotency_key='e9:1'))\n"
        "asyncio.run(go())\n"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(bench.workdir / "other"), image)
    await until(lambda: [one for one in left(engine, "e9:1") if one.status == "running"])
    psutil.Process(worker.pid).send_signal(signal.SIGKILL)
    await worker.wait()
    await until(lambda: not left(engine, "e9:1"))
