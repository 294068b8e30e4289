"""The verbs as an operator uses them, on real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from acceptance_home import ROOT, Operator


def test_up_ps_down(operator: Operator) -> None:
    said = operator.ok("up")
    assert [line.split(":")[0] for line in said.splitlines()] == ["postgres", "nats", "server", "worker worker-1"]
    services = operator.services()
    assert list(services) == ["postgres", "nats", "server", "worker worker-1"]
    for row in services.values():
        assert row["state"] == "running"
        assert row["pid"] > 0
        assert Path(row["log"]).is_file()
        assert row["version"]
        assert "url" in row or "dsn" in row
    password = json.loads((operator.home / "embedded.json").read_text())["postgres"]["password"]
    assert password not in json.dumps(services)
    again = operator.ok("up")
    assert "started," not in again
    assert again.count("already running") == 4
    operator.ok("down")
    assert operator.processes() == []
    assert operator.ok("down") == "nothing was running\n"
    assert {row["state"] for row in operator.services().values()} == {"stopped"}


def test_every_killed_process_comes_back_by_up(operator: Operator) -> None:
    operator.ok("up")
    before = {name: row["pid"] for name, row in operator.services().items()}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    operator.ok("up")
    after = operator.services()
    assert list(after) == list(before)
    assert all(after[name]["pid"] != before[name] and after[name]["state"] == "running" for name in before)


def test_a_worker_needs_a_server(operator: Operator) -> None:
    started = operator.run("worker", "start")
    assert started.returncode == 1
    assert "no server answers at" in started.stderr
    assert "noetl server start --init-db" in started.stderr


def test_several_workers(operator: Operator) -> None:
    operator.ok("server", "start", "--init-db")
    operator.ok("worker", "start", "--count", "2")
    operator.ok("worker", "start", "--name", "gpu", "--pool", "gpu", "--max-workers", "3")
    listed = {row["name"]: row for row in json.loads(operator.ok("worker", "list", "--json"))["workers"]}
    assert set(listed) == {"worker-1", "worker-2", "gpu"}
    assert (listed["gpu"]["pool"], listed["gpu"]["slots"]) == ("gpu", 3)
    assert (operator.home / "noetl_worker_gpu.pid").read_text().strip() == str(listed["gpu"]["pid"])
    which = operator.run("worker", "stop")
    assert which.returncode == 2
    assert "gpu, worker-1, worker-2" in which.stderr
    operator.ok("worker", "stop", "--name", "gpu")
    operator.ok("worker", "stop", "--all")
    assert not [one for one in operator.processes() if "noetl.worker" in one.cmdline()]
    assert operator.run("worker", "stop", "--name", "nobody").returncode == 1


def test_run_shows_its_steps_and_prints_its_result(operator: Operator, playbook: Path) -> None:
    ran = operator.run("run", str(playbook), "--set", "who=Ada")
    assert ran.returncode == 0, ran.stderr
    assert "✓ each" in ran.stdout
    assert ran.stdout.endswith('{\n  "text": "hello Ada",\n  "sum": 140\n}\n')
    assert "starting what is missing" in ran.stderr
    as_json = json.loads(operator.ok("run", str(playbook), "--json", "--payload", '{"who": "Bob"}'))
    assert (as_json["status"], as_json["result"]) == ("COMPLETED", {"text": "hello Bob", "sum": 140})
    execution_id = operator.ok("run", str(playbook), "--detach").strip()
    assert "COMPLETED" in operator.ok("execution", "follow", execution_id)
    assert "✓ end" in operator.ok("execution", "status", execution_id)
    assert json.loads(operator.ok("execution", "get", execution_id))["status"] == "COMPLETED"
    listed = json.loads(operator.ok("execution", "list", "--json"))["executions"]
    assert [one["status"] for one in listed] == ["COMPLETED"] * 3
    assert "playbook" in operator.ok("execution", "events", execution_id)
    assert "tests/story" in operator.ok("catalog", "list")
    assert "kind: Playbook" in operator.ok("catalog", "get", "tests/story")


def test_a_large_result_is_fetched_whole(operator: Operator, tmp_path: Path) -> None:
    file, target = tmp_path / "large.yaml", tmp_path / "out" / "large.json"
    code = "result = {'text': 'ab' * 1_500_000}"
    steps = f'[{{step: start, next: [{{step: large}}]}}, {{step: large, tool: {{kind: python, code: "{code}"}}}}]'
    file.write_text(f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: large}}\nworkflow: {steps}\n")
    done = operator.run("run", str(file))
    assert done.returncode == 0, done.stderr
    told = re.search(r"noetl execution result (\d+)", done.stderr)
    assert told, done.stderr
    whole = operator.ok("execution", "result", told[1])
    assert json.loads(whole) == {"text": "ab" * 1_500_000}
    nowhere = operator.run("execution", "result", told[1], "--output", str(target))
    assert (nowhere.returncode, f"mkdir -p {target.parent}" in nowhere.stderr) == (2, True)
    target.parent.mkdir()
    assert "3 MiB" in (said := operator.ok("execution", "result", told[1], "--step", "large", "--output", str(target)))
    assert str(target) in said
    assert target.read_text() == whole.rstrip("\n")
    assert list(target.parent.iterdir()) == [target]
    wrong = operator.run("execution", "result", told[1], "--step", "larg")
    assert wrong.returncode == 1
    assert "those that have: large" in wrong.stderr


def test_a_playbook_that_fails_or_is_broken(operator: Operator, tmp_path: Path, playbook: Path) -> None:
    failing = tmp_path / "failing.yaml"
    failing.write_text(playbook.read_text().replace('return {"text": f"hello {who}"}', 'raise ValueError("no such thing")'))
    ran = operator.run("run", str(failing))
    assert ran.returncode == 1
    assert "no such thing" in ran.stdout
    broken = tmp_path / "broken.yaml"
    broken.write_text(playbook.read_text().replace("workflow:", "workflaw:"))
    refused = operator.run("run", str(broken))
    assert refused.returncode == 2
    assert f"{broken}:" in refused.stderr
    assert operator.run("catalog", "validate", str(broken)).returncode == 2
    assert operator.run("run").returncode == 2
    assert operator.run("fly").returncode == 2
    assert operator.run("run", str(playbook), "--set", "novalue").returncode == 2


def test_ctrl_c_cancels_the_execution(operator: Operator, playbook: Path) -> None:
    operator.ok("up")
    with operator.popen("run", str(playbook), "--set", "pause=30", start_new_session=True) as verb:
        assert verb.stdout is not None
        for line in verb.stdout:
            if "each" in line:
                break
        verb.send_signal(signal.SIGINT)
        out, err = verb.communicate(timeout=30)
    assert verb.returncode == 130, out + err
    execution = json.loads(operator.ok("execution", "list", "--json"))["executions"][0]
    assert execution["status"] == "CANCELLED"


@pytest.mark.parametrize("name", ["postgres", "nats", "server", "worker worker-1"])
def test_any_process_is_killed_in_the_middle_of_a_run(operator: Operator, playbook: Path, name: str) -> None:
    operator.more = {"NOETL_LEASE_SECONDS": "3"}
    operator.ok("up")
    with operator.popen("run", str(playbook), "--set", "pause=0.5", "--set", "items=40") as verb:
        assert verb.stdout is not None
        for line in verb.stdout:
            if "items" in line:
                break
        os.kill(operator.services()[name]["pid"], signal.SIGKILL)
        time.sleep(0.5)
        operator.ok("up")
        out, err = verb.communicate(timeout=90)
    assert verb.returncode == 0, out + err
    assert f'"sum": {sum(n * n for n in range(40))}' in out


def test_database_verbs(operator: Operator) -> None:
    operator.ok("db", "init")
    assert operator.ok("db", "init") == "the schema is up to date\n"
    assert operator.ok("db", "validate") == "the schema is as it should be\n"
    assert "made anew" in operator.ok("db", "reset")
    operator.ok("server", "start")
    refused = operator.run("db", "reset")
    assert refused.returncode == 1
    assert "noetl server stop" in refused.stderr
    operator.ok("server", "stop")
    operator.more = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1", "POSTGRES_DB": "precious"}
    assert "--database precious" in operator.run("db", "reset").stderr
    operator.more = {}


def test_a_changed_database_is_said_to_be(operator: Operator) -> None:
    from noetl.ops import postgres

    operator.ok("db", "init")
    document = json.loads((operator.home / "embedded.json").read_text())["postgres"]
    command = [str(postgres.program_path("psql")), "-h", document["host"], "-p", str(document["port"]), "-U", "noetl", "-d", "noetl"]
    environ = {**os.environ, "PGPASSWORD": document["password"]}
    subprocess.run([*command, "-qc", "ALTER TABLE noetl.execution ADD COLUMN surplus int"], env=environ, check=True)
    checked = operator.run("db", "validate")
    assert checked.returncode == 1
    assert "surplus" in checked.stdout


def test_logs(operator: Operator) -> None:
    operator.ok("up")
    assert "postgres: " in operator.ok("logs")
    operator.ok("server", "logs", "--lines", "5")
    operator.ok("worker", "logs")
    assert operator.run("logs", "--service", "nobody").returncode == 1
    with operator.popen("logs", "-f", "--service", "server") as follower:
        time.sleep(0.5)
        with (operator.home / "logs" / "server.log").open("a") as log:
            log.write("a new line\n")
        assert follower.stdout is not None
        for line in follower.stdout:
            if "a new line" in line:
                break
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=10)
        assert follower.returncode == 130


def test_inv_and_noetl_have_the_same_verbs(operator: Operator) -> None:
    inv = subprocess.run(
        [sys.executable, "-m", "invoke", "--list", "--list-format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=operator.environ,
    )
    ours = operator.ok("--list", "--list-format", "json")
    assert json.loads(inv.stdout)["collections"] == json.loads(ours)["collections"]
    assert operator.ok("--version").startswith("noetl ")


def test_the_demo_leaves_no_process_behind(operator: Operator) -> None:
    if not (ROOT / "examples" / "demo.yaml").is_file():
        pytest.skip("LOUD SKIP: examples/demo.yaml is not there")
    shown = operator.ok("demo")
    assert "COMPLETED" in shown
    assert operator.processes() == []


def test_the_demo_can_leave_its_stack_up(operator: Operator) -> None:
    if not (ROOT / "examples" / "demo.yaml").is_file():
        pytest.skip("LOUD SKIP: examples/demo.yaml is not there")
    ended = json.loads(operator.ok("demo", "--keep", "--json"))
    assert ended["status"] == "COMPLETED"
    kept = {name: row["pid"] for name, row in operator.services().items()}
    assert all(kept.values())
    operator.ok("demo")
    assert {name: row["pid"] for name, row in operator.services().items()} == kept
