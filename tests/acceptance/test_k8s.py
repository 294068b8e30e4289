"""An installation on a real cluster, as its operator lives with it: from nothing to nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import k8s_images
import pytest
import yaml
from engine import git
from kube import kubeconfig
from steady_client import Clients
from terminal import CTRL_C, Terminal

from noetl.ops import diagnosis, lease
from noetl.ops.kube_api import Api

pytestmark = pytest.mark.timeout(600)
BUILDING = ("--network", "host", "--build-arg")
SLOW = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: tests/slow}
workload: {items: 20}
workflow:
  - step: start
    loop: {in: "{{ range(workload.items) | list }}", iterator: n, mode: parallel, limit: 2}
    tool:
      kind: python
      args: {n: "{{ n }}"}
      code: |
        import time
        def main(n):
            time.sleep(1.5)
            return n
    next: [{step: end}]
  - step: end
"""
SAYS = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: says, path: tests/says}
workload: {text: hello, times: 1}
workflow:
  - step: start
    tool:
      kind: python
      args: {text: "{{ workload.text }}", times: "{{ workload.times }}"}
      code: |
        def main(text, times):
            print(text)
            return text * times
"""
CONFIRM = "The namespace's name, to confirm: "


@dataclass
class Installation:
    """A repository with values, a namespace, and the shipped command from a checkout of its own."""

    folder: Path
    checkout: Path
    kubeconfig: Path
    namespace: str
    api: Api
    base: str
    access: dict[str, str] = field(default_factory=dict)

    def command(self, *words: str) -> dict[str, Any]:
        """Return a verb as a process is told it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_"))}
        ours = {"KUBECONFIG": str(self.kubeconfig), "PYTHONPATH": str(self.checkout), "NOETL_HOME": str(self.kubeconfig.parent / "home")}
        return {"args": [sys.executable, "-m", "noetl.cli", *words], "cwd": self.folder, "env": clean | ours | self.access}

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a verb and do not wait for it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(**self.command(*words), text=True, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end, and look that it has left git and the kubeconfig alone."""
        before = self.kubeconfig.read_bytes()
        with self.popen(*words) as verb:
            out, err = verb.communicate(timeout=400)
        for folder in (self.checkout, self.folder):
            assert git(folder, "status", "--porcelain") == "", f"{words}: {folder}"
        assert self.kubeconfig.read_bytes() == before
        return subprocess.CompletedProcess(words, verb.returncode, out, err)

    @contextlib.contextmanager
    def terminal(self, *words: str) -> Iterator[Terminal]:
        """Run a verb at a terminal, up to the question that it asks there."""
        with Terminal(**self.command(*words)) as terminal:
            terminal.until(CONFIRM)
            yield terminal

    def ok(self, *words: str) -> str:
        """Run a verb that has to succeed and return what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def replace_pod(self, name: str, app: str) -> None:
        """Delete a pod and return when another is ready in its place."""
        self.api.delete(f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        deadline = time.monotonic() + 200
        while "ready" not in [diagnosis.state(one) for one in self.pods(app) if one["metadata"]["name"] != name]:
            assert time.monotonic() < deadline, f"no pod is ready in the place of {name}"
            time.sleep(0.5)

    def history(self) -> list[dict[str, Any]]:
        """Return the revisions."""
        found: list[dict[str, Any]] = json.loads(self.ok("k8s", "history", "--json"))["revisions"]
        return found

    def redeploy(self, *words: str) -> str:
        """Build, and deploy what was built."""
        return self.ok("k8s", "redeploy", *BUILDING, f"PYTHON_IMAGE={self.base}", *words)

    def deployment(self, app: str) -> dict[str, Any]:
        """Return what is wanted of a Deployment."""
        return dict(self.api.find(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{app}")["spec"])

    def pods(self, app: str) -> list[dict[str, Any]]:
        """Return a Deployment's pods."""
        labels = ",".join(f"{name}={value}" for name, value in self.deployment(app)["selector"]["matchLabels"].items())
        return self.api.items(f"/api/v1/namespaces/{self.namespace}/pods", labels)

    def until_only_new_pods_are_there(self, app: str) -> None:
        """Return when the pods of former revisions have ended."""
        deadline = time.monotonic() + 200
        while len(self.pods(app)) != self.deployment(app)["replicas"]:
            assert time.monotonic() < deadline, f"pods of {app} are still there"
            time.sleep(0.5)

    def get(self, path: str) -> Any:
        """Ask the server, over its Service unless `access` says otherwise."""
        headers = {"authorization": f"Bearer {self.access['NOETL_API_TOKEN']}"}
        with urllib.request.urlopen(urllib.request.Request(self.access["NOETL_SERVER_URL"] + path, headers=headers), timeout=10) as answer:
            return json.load(answer)

    def until_ready(self) -> None:
        """Return when the server answers."""
        deadline = time.monotonic() + 200
        while True:
            try:
                urllib.request.urlopen(f"{self.access['NOETL_SERVER_URL']}/ready", timeout=5).close()
            except OSError as error:
                assert time.monotonic() < deadline, error
                time.sleep(0.5)
            else:
                return

    def versions(self) -> dict[str, str]:
        """Return what a deploy writes, and the generation of it: it goes up whenever what is wanted changes."""
        found = {}
        for kind in ("deployments", "statefulsets"):
            for one in self.api.items(f"/apis/apps/v1/namespaces/{self.namespace}/{kind}"):
                found[one["metadata"]["name"]] = str(one["metadata"]["generation"])
        for kind in ("secrets", "configmaps", "services"):
            for one in self.api.items(f"/api/v1/namespaces/{self.namespace}/{kind}"):
                found[f"{kind}/{one['metadata']['name']}"] = one["metadata"]["resourceVersion"]
        return found


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, engine: Any, base_image: str, checkout: Path) -> Iterator[Installation]:
    """What a first redeploy makes of an empty cluster: PostgreSQL, NATS, a server, two pools of workers."""
    folder = tmp_path_factory.mktemp("k8s") / "values"
    namespace = f"noetl-test-{secrets.token_hex(4)}"
    os.environ["KUBECONFIG"] = kubeconfig()
    k8s_images.make()
    small = {"requests": {"cpu": "20m", "memory": "64Mi"}}
    (folder / "k8s").mkdir(parents=True)
    values = {
        "namespace": namespace,
        "server": {"resources": small},
        "worker": {"slots": 4, "resources": small},
        "pools": {"default": {}, "heavy": {}},
        "postgres": {"image": k8s_images.POSTGRES, "storage": {"chown": True, "size": "100Mi"}, "resources": small},
        "nats": {"image": k8s_images.NATS, "storage": {"chown": True, "size": "100Mi"}, "resources": small},
    }
    (folder / "k8s" / "values.yaml").write_text(json.dumps(values))
    (folder / "k8s" / "production.yaml").write_text("{}\n")
    (folder / "slow.yaml").write_text(SLOW)
    (folder / "says.yaml").write_text(SAYS)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(folder, *words)
    contexts = yaml.safe_load(Path(kubeconfig()).read_text())
    contexts["contexts"] += [{"name": "production", "context": contexts["contexts"][0]["context"]}]
    (folder.parent / "kubeconfig").write_text(yaml.safe_dump(contexts))
    found = Installation(folder, checkout, folder.parent / "kubeconfig", namespace, Api("noetl-test"), base_image)
    try:
        assert "revision 1 is up" in found.redeploy()
        found.access = access(found)
        yield found
    finally:
        del os.environ["KUBECONFIG"]
        found.api.delete(f"/api/v1/namespaces/{namespace}")


def access(found: Installation) -> dict[str, str]:
    """Return what the verbs need to reach the server over its Service, or skip where this machine cannot."""
    service = found.api.find(f"/api/v1/namespaces/{found.namespace}/services/noetl-server")["spec"]
    token = found.api.find(f"/api/v1/namespaces/{found.namespace}/secrets/noetl-secrets")["data"]["NOETL_API_TOKEN"]
    url = f"http://{service['clusterIP']}:{service['ports'][0]['port']}"
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5).close()
    except OSError as error:
        pytest.skip(f"LOUD SKIP: the cluster's Services cannot be reached from this machine: {error}")
    return {"NOETL_SERVER_URL": url, "NOETL_API_TOKEN": base64.b64decode(token).decode()}


def test_what_is_there_is_shown_and_runs_playbooks(installation: Installation) -> None:
    status = json.loads(installation.ok("k8s", "status", "--json"))
    assert {one["workload"]: one["ready"] for one in status["workloads"]} == {
        "statefulset/noetl-postgres": "1/1",
        "statefulset/noetl-nats": "1/1",
        "deployment/noetl-server": "1/1",
        "deployment/noetl-worker": "1/1",
        "deployment/noetl-worker-heavy": "1/1",
    }
    assert status["up"] and {one["state"] for one in status["pods"]} == {"ready"}
    hello = json.loads(installation.ok("run", str(installation.checkout / "examples" / "hello.yaml"), "--json"))
    assert hello["status"] == "COMPLETED"
    assert "is ready at http://0.0.0.0:8082" in installation.ok("k8s", "logs", "--name", "server")


def test_nothing_changed_writes_nothing(installation: Installation) -> None:
    before = installation.versions()
    assert installation.ok("build", *BUILDING, f"PYTHON_IMAGE={installation.base}").startswith("noetl:")
    assert "kind: StatefulSet" in installation.ok("k8s", "render")
    assert installation.ok("k8s", "diff") == ""
    assert "nothing changed; revision 1 is up" in installation.ok("k8s", "deploy")
    assert installation.versions() == before


def test_logs_are_followed_into_a_pod_that_comes_later(installation: Installation) -> None:
    with installation.popen("k8s", "logs", "--name", "worker", "--follow") as verb:
        assert verb.stdout is not None
        pods = []
        for text in ("before", "after"):
            installation.ok("run", "says.yaml", "--set", f"text=it-is-said-{text}")
            pods.append(next(line.partition(": ")[0] for line in verb.stdout if f"it-is-said-{text}" in line))
            installation.replace_pod(pods[0], "noetl-worker")
        assert pods[0] != pods[1] and all(re.fullmatch(r"noetl-worker-\w+-\w+", pod) for pod in pods)
        verb.send_signal(signal.SIGINT)
        verb.communicate(timeout=60)
    assert verb.returncode == 130


def test_a_port_leads_to_the_server_also_when_its_pod_is_another(installation: Installation) -> None:
    file = installation.folder / ".noetl" / "forward.env"
    with installation.popen("k8s", "forward", "--port", "0") as verb:
        assert verb.stdout is not None
        url = verb.stdout.readline().split(" ")[0]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        given = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
        assert given["NOETL_SERVER_URL"] == url
        there = replace(installation, access=given)
        long = json.loads(there.ok("run", "says.yaml", "--set", "text=0123456789", "--set", "times=400000", "--json"))
        assert there.get(f"/api/executions/{long['execution_id']}/result/start") == "0123456789" * 400000
        taken = installation.run("k8s", "forward", "--port", url.rpartition(":")[2])
        assert taken.returncode == 1 and "is taken" in taken.stderr and "inv k8s.forward --port" in taken.stderr
        (pod,) = installation.pods("noetl-server")
        installation.replace_pod(pod["metadata"]["name"], "noetl-server")
        there.until_ready()
        assert "tests/says" in there.ok("execution", "list")
        verb.send_signal(signal.SIGINT)
        assert verb.communicate(timeout=60)[1].splitlines()[-1] == "interrupted"
    assert verb.returncode == 130 and not file.exists()


def test_an_image_from_a_registry_is_pulled_and_deployed_by_its_digest(installation: Installation, registry: str, engine: Any) -> None:
    ours = (*BUILDING, f"PYTHON_IMAGE={installation.base}", "--registry", f"{registry}/team", "--push")
    pushed = installation.ok("build", *ours).strip()
    assert re.fullmatch(rf"{registry}/team/noetl@sha256:[0-9a-f]{{64}}", pushed)
    for name in engine.images.get(pushed).tags:
        if name.startswith(registry):
            engine.images.remove(name)
    assert not any(pushed in (one.attrs["RepoDigests"] or ()) for one in engine.images.list())
    installation.ok("k8s", "deploy", "--image", pushed)
    assert pushed in {one["spec"]["containers"][0]["image"] for one in installation.pods("noetl-server")}
    events = installation.api.items(f"/api/v1/namespaces/{installation.namespace}/events")
    assert any(f'Successfully pulled image "{pushed}"' in str(one.get("message")) for one in events)


def test_a_redeploy_of_another_image_fails_no_request_loses_no_step_and_leaves_the_database_alone(installation: Installation) -> None:
    before = installation.versions()
    (installation.checkout / "noetl" / "another.py").write_text('"""What makes it another image."""\n')
    git(installation.checkout, "add", ".")
    git(installation.checkout, "commit", "-q", "-m", "second")
    ids = [installation.ok("run", "slow.yaml", "--detach").strip() for _ in range(2)]
    with Clients(installation.access["NOETL_SERVER_URL"], installation.access["NOETL_API_TOKEN"]) as clients:
        clients.wait_for_answers(20)
        assert "is up; " in installation.redeploy("--set", "env.NOETL_VAR_ROUND=2")
        installation.until_only_new_pods_are_there("noetl-server")
        clients.wait_for_answers(20)
    assert clients.failed == [], f"{len(clients.failed)} failed, {clients.answered} answered"
    after = installation.versions()
    assert after["noetl-postgres"] == before["noetl-postgres"] and after["noetl-nats"] == before["noetl-nats"]
    assert after["noetl-server"] != before["noetl-server"]
    for one in ids:
        done = json.loads(installation.ok("execution", "follow", "--json", one))
        assert done["status"] == "COMPLETED"
        assert installation.get(f"/api/executions/{one}/result/start")["results"] == list(range(20))


def test_a_redeploy_of_code_that_crashes_is_explained_and_goes_back(installation: Installation) -> None:
    before = installation.history()[-1]["revision"]
    (installation.checkout / "noetl" / "server" / "__main__.py").write_text('raise SystemExit("it cannot begin")\n')
    git(installation.checkout, "commit", "-q", "-a", "-m", "broken")
    done = installation.run("k8s", "redeploy", *BUILDING, f"PYTHON_IMAGE={installation.base}", "--set", "env.NOETL_VAR_ROUND=2")
    assert done.returncode == 1
    for part in ("it crashes: exit code 1", "it cannot begin", "1 of its former pods still serve", "--previous"):
        assert part in done.stderr
    assert f"revision {before} is back, as revision {before + 2}" in done.stderr
    assert installation.get("/health")
    git(installation.checkout, "reset", "-q", "--hard", "HEAD~1")
    installation.ok("build", *BUILDING, f"PYTHON_IMAGE={installation.base}")


def test_an_image_that_is_not_there_is_named_and_the_former_revision_is_back(installation: Installation) -> None:
    before = installation.history()[-1]["revision"]
    done = installation.run("k8s", "deploy", "--image", "noetl-test/none:1", "--set", "server.replicas=1")
    assert done.returncode == 1
    assert "noetl-test/none:1" in done.stderr and "image not found" in done.stderr
    assert installation.get("/health")
    assert [one["status"] for one in installation.history()[-2:]] == ["deployed", "failed"]
    assert f"revision {before + 2} is up" in installation.ok("k8s", "rollback", str(before))


def test_what_would_never_change_is_explained_and_nothing_is_touched(installation: Installation) -> None:
    before = installation.versions()
    done = installation.run("k8s", "deploy", "--set", "postgres.storage.size=200Mi")
    assert done.returncode == 1
    assert "statefulset/noetl-postgres: Kubernetes never changes spec" in done.stderr and "nothing deleted" in done.stderr
    assert installation.versions() == before


def test_a_secret_and_a_key_that_are_missing_are_named(installation: Installation) -> None:
    elsewhere = ("--set", "secret.keys.NOETL_API_TOKEN={name: ours, key: token}")
    done = installation.run("k8s", "deploy", *elsewhere)
    assert done.returncode == 1 and "there is no secret ours" in done.stderr
    ours = {"metadata": {"name": "ours"}, "stringData": {"another": "x"}}
    installation.api.request("POST", f"/api/v1/namespaces/{installation.namespace}/secrets", ours)
    done = installation.run("k8s", "deploy", *elsewhere, "--rollback-on-failure")
    assert done.returncode == 1 and "Secret ours has no key token" in done.stderr and "is back, as revision" in done.stderr
    assert installation.get("/health")


def test_of_two_deploys_at_once_the_second_is_told_who_is_at_it(installation: Installation) -> None:
    with installation.popen("k8s", "deploy", "--set", "env.NOETL_VAR_ROUND=first") as first:
        assert first.stderr is not None
        assert any(re.match(r"\S*deployment/noetl-server: ", line) for line in first.stderr)
        second = installation.run("k8s", "deploy", "--set", "env.NOETL_VAR_ROUND=second")
        assert second.returncode == 1
        assert re.search(rf"namespace {installation.namespace} is locked by \S+ \(pid {first.pid}\), for deploy, since", second.stderr)
        out, err = first.communicate(timeout=400)
        assert first.returncode == 0, f"{out}\n{err}"
    assert lease.holder(installation.api, installation.namespace) == ""


def test_ctrl_c_and_a_terminated_verb_leave_nothing_locked(installation: Installation) -> None:
    for number, value in ((signal.SIGINT, "3"), (signal.SIGTERM, "4")):
        verb = installation.popen("k8s", "deploy", "--set", f"env.NOETL_VAR_ROUND={value}")
        assert verb.stderr is not None
        for line in verb.stderr:
            if re.match(r"\S*deployment/noetl-server: ", line):
                break
        verb.send_signal(number)
        verb.communicate(timeout=60)
        assert verb.returncode == 130
        assert lease.holder(installation.api, installation.namespace) == ""
    assert "is up" in installation.ok("k8s", "deploy", "--set", "env.NOETL_VAR_ROUND=4")


def test_a_platform_that_no_node_has_is_refused_before_the_build(installation: Installation) -> None:
    builds = (installation.checkout / ".noetl" / "builds.jsonl").read_text()
    done = installation.run("k8s", "redeploy", *BUILDING, f"PYTHON_IMAGE={installation.base}", "--platform", "linux/arm64")
    assert done.returncode == 2
    assert "linux/arm64" in done.stderr and "--platform linux/amd64" in done.stderr and "Nothing was built" in done.stderr
    assert (installation.checkout / ".noetl" / "builds.jsonl").read_text() == builds
    done = installation.run("k8s", "diff", "--image", "noetl-test/arm:1", "--platform", "linux/arm64")
    assert done.returncode == 2 and "no node is" in done.stderr


@contextlib.contextmanager
def node(api: Api, architecture: str) -> Iterator[str]:
    """A Node object of an architecture, which no machine stands behind."""
    name = f"noetl-test-{secrets.token_hex(3)}"
    info = dict.fromkeys(
        ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"),
        "none",
    )
    status = {"nodeInfo": info | {"operatingSystem": "linux", "architecture": architecture}}
    labels = {"kubernetes.io/arch": architecture, "kubernetes.io/os": "linux"}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}
    api.request("POST", "/api/v1/nodes", body)
    api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, content="application/merge-patch+json")
    try:
        yield name
    finally:
        api.delete(f"/api/v1/nodes/{name}")


def test_among_mixed_nodes_pods_are_bound_to_those_of_the_platform(installation: Installation) -> None:
    with node(installation.api, "arm64"):
        shown = installation.ok("k8s", "diff", "--image", "noetl-test/arm:1", "--platform", "linux/arm64")
    changed = set(re.findall(r"^\+\s+kubernetes.io/arch: (\S+)$", shown, re.MULTILINE))
    assert changed == {"arm64"}
    assert shown.count("+        kubernetes.io/arch: arm64") >= 3


def test_after_removing_a_deploy_goes_on_with_the_data(installation: Installation) -> None:
    before = {one["execution_id"] for one in installation.get("/api/executions?limit=100")["executions"]}
    said = installation.ok("k8s", "remove")
    assert "kept: " in said and "persistentvolumeclaim/data-noetl-postgres-0" in said and "secret/noetl-secrets" in said
    assert installation.run("k8s", "status").returncode == 1
    installation.ok("k8s", "deploy")
    installation.access = access(installation)
    assert before and {one["execution_id"] for one in installation.get("/api/executions?limit=100")["executions"]} == before
    assert json.loads(installation.ok("run", "slow.yaml", "--set", "items=1", "--json"))["status"] == "COMPLETED"


def test_where_data_is_at_stake_the_namespace_is_asked_for(installation: Installation) -> None:
    installation.ok("k8s", "target", "--context", "production", "--env", "production")
    before = installation.versions()
    for words in (("k8s", "reset", "--env", "production"), ("k8s", "remove", "--volumes", "--env", "production")):
        for keys, code, said in (
            (f"{installation.namespace}x\n", 2, "that is another name: nothing was changed"),
            ("\n", 2, "that is another name: nothing was changed"),
            (CTRL_C, 130, "interrupted"),
        ):
            with installation.terminal(*words) as terminal:
                terminal.type(keys)
                assert terminal.end() == code, terminal.shown
                assert said in terminal.shown
        done = installation.run(*words)
        assert done.returncode == 2 and "It was not confirmed" in done.stderr and "--yes" in done.stderr
    assert installation.versions() == before
    assert installation.get("/api/executions?limit=100")["executions"]


def test_a_reset_that_is_interrupted_says_how_to_go_on_and_locks_nothing(installation: Installation) -> None:
    with installation.popen("k8s", "reset", *BUILDING, f"PYTHON_IMAGE={installation.base}", "--yes") as verb:
        assert verb.stderr is not None
        assert any("deployment/noetl-server: stopping" in line for line in verb.stderr)
        verb.send_signal(signal.SIGINT)
        said = verb.communicate(timeout=100)[1]
    assert verb.returncode == 130
    before = installation.history()[-1]["revision"]
    back = f"inv k8s.rollback {before}"
    assert f"servers and workers are stopped; to go on: inv k8s.reset; to start them as they were: {back}" in said
    assert lease.holder(installation.api, installation.namespace) == ""
    jobs = installation.api.items(f"/apis/batch/v1/namespaces/{installation.namespace}/jobs")
    assert [one["metadata"]["name"] for one in jobs if not one["metadata"]["name"].startswith("noetl-migrate-")] == []
    installation.ok("k8s", "rollback", str(before))
    assert installation.get("/health") and installation.get("/api/executions?limit=100")["executions"]


def test_a_reset_begins_anew_and_removing_volumes_leaves_nothing(installation: Installation) -> None:
    production = ("--env", "production")
    with installation.terminal("k8s", "reset", *BUILDING, f"PYTHON_IMAGE={installation.base}", *production) as terminal:
        terminal.type(f"{installation.namespace}\n")
        assert terminal.end() == 0, terminal.shown
        assert "deletes all executions, playbooks and credentials" in terminal.shown and "is up; " in terminal.shown
    assert installation.get("/api/executions?limit=100")["executions"] == []
    with installation.terminal("k8s", "remove", "--volumes", *production) as terminal:
        terminal.type(f"{installation.namespace}\n")
        assert terminal.end() == 0, terminal.shown
    left = [one["metadata"]["name"] for one in installation.api.items(f"/api/v1/namespaces/{installation.namespace}/secrets")]
    assert not any(name.startswith("noetl-") and "token" not in name for name in left)
    deadline = time.monotonic() + 200
    while installation.api.items(f"/api/v1/namespaces/{installation.namespace}/persistentvolumeclaims"):
        assert time.monotonic() < deadline, "volumes are still there"
        time.sleep(0.5)
    assert installation.run("k8s", "status").returncode == 1
