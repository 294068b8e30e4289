"""An installation on a real cluster, as its operator lives with it: from nothing to nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import k8s_images
import pytest
from engine import git
from kube import kubeconfig
from steady_client import Clients

from noetl.ops import lease
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


@dataclass
class Installation:
    """A folder with values, a namespace, and the shipped command from a checkout of its own."""

    folder: Path
    checkout: Path
    namespace: str
    api: Api
    base: str
    access: dict[str, str] = field(default_factory=dict)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start a verb and do not wait for it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_"))}
        environ = (
            clean | {"KUBECONFIG": kubeconfig(), "PYTHONPATH": str(self.checkout), "NOETL_HOME": str(self.folder / "home")} | self.access
        )
        command = [sys.executable, "-m", "noetl.cli", *words]
        return subprocess.Popen(command, cwd=self.folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        with self.popen(*words) as verb:
            out, err = verb.communicate(timeout=400)
            return subprocess.CompletedProcess(words, verb.returncode, out, err)

    def ok(self, *words: str) -> str:
        """Run a verb that has to succeed and return what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def redeploy(self, *words: str) -> str:
        """Build, and deploy what was built."""
        return self.ok("k8s", "redeploy", *BUILDING, f"PYTHON_IMAGE={self.base}", *words)

    def until_only_new_pods_are_there(self, app: str) -> None:
        """Return when the pods of former revisions have ended."""
        deadline = time.monotonic() + 200
        wanted = self.api.find(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{app}")["spec"]["replicas"]
        while len(self.api.items(f"/api/v1/namespaces/{self.namespace}/pods", f"app={app}")) != wanted:
            assert time.monotonic() < deadline, f"pods of {app} are still there"
            time.sleep(0.5)

    def get(self, path: str) -> Any:
        """Ask the server, over its Service."""
        headers = {"authorization": f"Bearer {self.access['NOETL_API_TOKEN']}"}
        with urllib.request.urlopen(urllib.request.Request(self.access["NOETL_SERVER_URL"] + path, headers=headers), timeout=10) as answer:
            return json.load(answer)

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
    folder = tmp_path_factory.mktemp("k8s")
    namespace = f"noetl-test-{secrets.token_hex(4)}"
    os.environ["KUBECONFIG"] = kubeconfig()
    k8s_images.make()
    small = {"requests": {"cpu": "20m", "memory": "64Mi"}}
    (folder / "k8s").mkdir()
    values = {
        "namespace": namespace,
        "server": {"resources": small},
        "worker": {"slots": 4, "resources": small},
        "pools": {"default": {}, "heavy": {}},
        "postgres": {"image": k8s_images.POSTGRES, "storage": {"chown": True, "size": "100Mi"}, "resources": small},
        "nats": {"image": k8s_images.NATS, "storage": {"chown": True, "size": "100Mi"}, "resources": small},
    }
    (folder / "k8s" / "values.yaml").write_text(json.dumps(values))
    (folder / "slow.yaml").write_text(SLOW)
    found = Installation(folder, checkout, namespace, Api("noetl-test"), base_image)
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
    assert installation.ok("k8s", "diff") == ""
    assert "nothing changed; revision 1 is up" in installation.ok("k8s", "deploy")
    assert installation.versions() == before
    assert git(installation.checkout, "status", "--porcelain") == ""


def test_a_redeploy_of_another_image_fails_no_request_loses_no_step_and_leaves_the_database_alone(installation: Installation) -> None:
    before = installation.versions()
    (installation.checkout / "noetl" / "another.py").write_text('"""What makes it another image."""\n')
    git(installation.checkout, "add", ".")
    git(installation.checkout, "commit", "-q", "-m", "second")
    ids = [installation.ok("run", "slow.yaml", "--detach").strip() for _ in range(2)]
    with Clients(installation.access["NOETL_SERVER_URL"], installation.access["NOETL_API_TOKEN"]) as clients:
        clients.wait_for_answers(20)
        assert "revision 2 is up" in installation.redeploy("--set", "env.NOETL_VAR_ROUND=2")
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


def test_an_image_that_is_not_there_is_named_and_the_former_revision_is_back(installation: Installation) -> None:
    began = time.monotonic()
    done = installation.run("k8s", "deploy", "--image", "noetl-test/none:1", "--set", "server.replicas=1")
    assert done.returncode == 1
    assert "noetl-test/none:1" in done.stderr and "image not found" in done.stderr
    assert time.monotonic() - began < 60
    assert installation.get("/health")
    history = json.loads(installation.ok("k8s", "history", "--json"))["revisions"]
    assert [one["status"] for one in history] == ["replaced", "deployed", "failed"]
    assert "revision 4 is up" in installation.ok("k8s", "rollback", "2")
    assert git(installation.checkout, "status", "--porcelain") == ""


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


def test_a_reset_begins_anew_and_removing_volumes_leaves_nothing(installation: Installation) -> None:
    said = installation.ok("k8s", "reset", *BUILDING, f"PYTHON_IMAGE={installation.base}")
    assert "is up" in said
    assert installation.get("/api/executions?limit=100")["executions"] == []
    installation.ok("k8s", "remove", "--volumes")
    left = [one["metadata"]["name"] for one in installation.api.items(f"/api/v1/namespaces/{installation.namespace}/secrets")]
    assert not any(name.startswith("noetl-") and "token" not in name for name in left)
    assert git(installation.checkout, "status", "--porcelain") == ""
