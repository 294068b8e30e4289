"""`doctor` on real services: well, absent, hung, of another version."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

from acceptance_home import Operator

from noetl.ops import ports


def examined(operator: Operator, exit_code: int) -> dict[str, dict[str, Any]]:
    """Return what `doctor --json` found, by name."""
    done = operator.run("doctor", "--json")
    assert done.returncode == exit_code, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["well"] == (exit_code == 0)
    return {one["name"]: one for one in document["checks"]}


def test_a_machine_where_nothing_was_started_is_well(operator: Operator) -> None:
    found = examined(operator, 0)
    assert {name: found[name]["state"] for name in ("home", "database", "nats", "server")} == dict.fromkeys(
        ("home", "database", "nats", "server"), "note"
    )
    assert found["port"]["state"] == "ok"
    assert not operator.home.exists(), "looking changes nothing"


def test_everything_that_runs_is_measured_and_what_broke_is_named(operator: Operator) -> None:
    operator.ok("up")
    found = examined(operator, 0)
    assert {name for name, one in found.items() if one["state"] == "ok"} >= {
        "noetl", "home", "disk", "port", "database", "schema", "clock", "nats", "server", "workers",
    }  # fmt: skip
    assert all(found[name]["ms"] > 0 for name in ("database", "nats", "server"))
    shown = operator.ok("doctor")
    assert "ok    database" in shown
    services = operator.services()
    os.kill(services["nats"]["pid"], signal.SIGKILL)
    (operator.home / "token").chmod(0o644)
    found = examined(operator, 1)
    assert found["nats"]["state"] == "bad"
    assert found["nats"]["hint"] == "start it: noetl up"
    assert found["home"]["hint"] == f"chmod 600 {operator.home / 'token'}"
    assert found["database"]["state"] == "ok"


def test_what_hangs_does_not_hang_the_doctor(operator: Operator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        operator.more = {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(port),
            "NATS_URL": f"nats://127.0.0.1:{port}",
            "NOETL_SERVER_URL": f"http://127.0.0.1:{port}",
        }
        found = examined(operator, 1)
        operator.more = {}
    for name in ("database", "nats", "server"):
        assert found[name]["state"] == "bad", name
        assert found[name]["hint"], name
    assert found["noetl"]["state"] == "ok"


def test_a_cluster_and_an_engine_that_do_not_answer_are_no_failure(operator: Operator) -> None:
    config = operator.folder / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: away\n"
        f"clusters: [{{name: away, cluster: {{server: 'https://127.0.0.1:{ports.free()}'}}}}]\n"
        "contexts: [{name: away, context: {cluster: away, user: nobody}}]\nusers: [{name: nobody, user: {}}]\n"
    )
    operator.more = {"KUBECONFIG": str(config), "DOCKER_HOST": f"tcp://127.0.0.1:{ports.free()}"}
    found = examined(operator, 0)
    operator.more = {}
    assert found["kubernetes"]["state"] == "warn"
    assert "context away" in found["kubernetes"]["text"]
    assert found["docker"]["state"] == "note"


def test_a_port_that_somebody_else_has(operator: Operator) -> None:
    with socket.create_server(("127.0.0.1", operator.port)):
        found = examined(operator, 1)
    assert found["port"]["state"] == "bad"
    assert f"pid {os.getpid()}" in found["port"]["text"]


def test_a_database_that_refuses(operator: Operator) -> None:
    operator.ok("db", "init")
    assert examined(operator, 0)["schema"]["state"] == "ok"
    operator.more = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PASSWORD": "wrong"} | _where(operator)
    refused = examined(operator, 1)["database"]
    operator.more = {}
    assert refused["state"] == "bad"
    assert "POSTGRES_PASSWORD" in refused["hint"]


def _where(operator: Operator) -> dict[str, str]:
    document = json.loads((operator.home / "embedded.json").read_text())["postgres"]
    return {"POSTGRES_PORT": str(document["port"])}
