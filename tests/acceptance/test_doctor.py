"""`doctor` on real services: well, absent, hung, of another version."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance_home import Operator
from test_lifecycle import wait_for

from noetl.ops import ports, postgres


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
    assert f"127.0.0.1:{port} " in found["nats"]["text"]
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


def test_a_home_that_cannot_be_used(operator: Operator) -> None:
    operator.home.mkdir(mode=0o777)
    operator.home.chmod(0o777)
    found = examined(operator, 1)["home"]
    assert (found["state"], found["hint"]) == ("bad", f"chmod o-w {operator.home}")
    subprocess.run(found["hint"].split(), check=True)
    assert examined(operator, 0)["home"]["state"] == "ok"
    operator.home.rmdir()
    operator.home.write_text("")
    found = examined(operator, 1)["home"]
    assert found["text"] == f"{operator.home} is not writable"
    assert "set NOETL_HOME" in found["hint"]
    operator.home.unlink()


@pytest.mark.parametrize(("options", "name", "said"), [("size=64m", "disk", "make room: "), ("ro", "home", "set NOETL_HOME")])
def test_a_disk_that_is_full_or_cannot_be_written(operator: Operator, options: str, name: str, said: str) -> None:
    with small_disk(operator.home.with_name("disk"), options) as disk:
        operator.home = disk / "home"
        found = examined(operator, 1)
        assert found[name]["state"] == "bad"
        assert said in found[name]["hint"]
        assert found[{"disk": "home", "home": "noetl"}[name]]["state"] in ("ok", "note")
        operator.home = disk.with_name("home")


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a disk of its own on a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("LOUD SKIP: this user cannot mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_an_address_that_is_not_of_this_machine(operator: Operator) -> None:
    operator.more = {"NOETL_HOST": "203.0.113.7"}
    found = examined(operator, 1)["port"]
    operator.more = {}
    assert found["text"].startswith("203.0.113.7 is no address of this machine")
    assert found["hint"] == "set NOETL_HOST and NOETL_PORT to where the server can listen"


def test_a_schema_that_does_not_fit_and_a_clock_that_is_off(operator: Operator) -> None:
    operator.ok("db", "init")
    sql(operator, "DROP SCHEMA noetl CASCADE")
    none = examined(operator, 0)["schema"]
    assert (none["state"], none["hint"]) == ("warn", "make it: noetl db init")
    # What an older noetl, which did not have the last migration, made.
    older = "from noetl.store import migrate; all = migrate.migrations(); migrate.migrations = lambda: dict(list(all.items())[:-1])"
    code = f"{older}; from noetl import cli; cli.main(['db', 'init'])"
    subprocess.run([sys.executable, "-c", code], cwd=operator.folder, env=operator.environ, capture_output=True, check=False)
    behind = examined(operator, 1)["schema"]
    assert behind["text"].startswith("behind by ")
    assert behind["hint"] == "bring it up to date: noetl db init"
    operator.ok("db", "init")
    assert examined(operator, 0)["schema"]["state"] == "ok"
    sql(operator, "INSERT INTO noetl.migrations (name, checksum) VALUES ('9999_of_tomorrow', 'x')")
    newer = examined(operator, 1)["schema"]
    assert newer["text"] == "made by a newer noetl (9999_of_tomorrow)"
    assert newer["hint"] == "install that: pip install -U noetl"
    sql(operator, "DELETE FROM noetl.migrations WHERE name = '9999_of_tomorrow'; UPDATE noetl.migrations SET checksum = 'another'")
    changed = examined(operator, 1)["schema"]
    assert changed["text"].startswith("made by another version (")
    assert changed["hint"] == "install the noetl that made it; or delete everything and make it anew: noetl db reset"
    assert changed["hint"] in operator.run("db", "init").stderr
    operator.ok("db", "reset")
    assert examined(operator, 0)["schema"]["state"] == "ok"

    for off, state, said in ((3, "warn", "3.0 s ahead of PostgreSQL's"), (-60, "bad", "60.0 s behind PostgreSQL's")):
        ahead = operator.folder / "clock"
        ahead.mkdir(exist_ok=True)
        (ahead / "sitecustomize.py").write_text(f"import time\nreal = time.time\ntime.time = lambda: real() + {off}\n")
        operator.more = {"PYTHONPATH": str(ahead)}
        clock = examined(operator, 1 if state == "bad" else 0)["clock"]
        operator.more = {}
        assert (clock["state"], clock["text"]) == (state, said)
        assert clock["hint"].startswith("set it: timedatectl set-ntp true")


def sql(operator: Operator, text: str) -> None:
    """Run SQL in the embedded database, as the one whom it belongs to."""
    document = json.loads((operator.home / "embedded.json").read_text())["postgres"]
    command = [str(postgres.program_path("psql")), "-h", document["host"], "-p", str(document["port"]), "-U", "noetl", "-d", "noetl"]
    environ = {**os.environ, "PGPASSWORD": document["password"], "PGOPTIONS": "-c client_min_messages=warning"}
    subprocess.run([*command, "-v", "ON_ERROR_STOP=1", "-qc", text], env=environ, check=True, capture_output=True)


def test_what_is_wrong_with_a_server_and_its_workers(operator: Operator) -> None:
    operator.more = {"NOETL_LEASE_SECONDS": "3"}
    operator.ok("up")
    services = operator.services()

    worker = services["worker worker-1"]["pid"]
    os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: operator.run("doctor").returncode == 1)
    lost = examined(operator, 1)["workers"]
    assert lost["text"] == "the server does not hear worker-1"
    assert lost["hint"] == f"let it go on: kill -CONT {worker}; start it anew: noetl worker roll --force --timeout 10"
    assert operator.services()["worker worker-1"]["state"] == "suspended"
    operator.ok("worker", "roll", "--force", "--timeout", "10")
    assert examined(operator, 0)["workers"]["state"] == "ok"

    operator.more |= {"NOETL_API_TOKEN": "another"}
    token = examined(operator, 1)["token"]
    assert token["text"] == f"the server at http://127.0.0.1:{operator.port} refuses this token"
    assert token["hint"] == "set NOETL_API_TOKEN to the server's, or NOETL_HOME to the folder that has it"
    assert f"error: {token['text']}\n  {token['hint']}" in operator.run("execution", "list").stderr
    del operator.more["NOETL_API_TOKEN"]

    os.kill(services["postgres"]["pid"], signal.SIGKILL)
    found = examined(operator, 1)
    assert (found["database"]["state"], found["database"]["hint"]) == ("bad", "start it: noetl up")
    assert (found["ready"]["state"], found["ready"]["hint"]) == ("bad", "see: noetl server logs")
    operator.ok("up")
    assert examined(operator, 0)["database"]["state"] == "ok"

    os.kill(services["server"]["pid"], signal.SIGSTOP)
    server = examined(operator, 1)["server"]
    assert server["text"] == f"the server at http://127.0.0.1:{operator.port} is suspended"
    assert server["hint"] == f"let it go on: kill -CONT {services['server']['pid']}"
    assert operator.services()["server"]["state"] == "suspended"
    subprocess.run(server["hint"].removeprefix("let it go on: ").split(), check=True)
    # Workers that it did not answer meanwhile are heard again with their next heartbeat.
    wait_for(lambda: operator.run("doctor").returncode == 0)
    assert examined(operator, 0)["server"]["state"] == "ok"


def test_what_answers_is_no_server_of_noetl(operator: Operator) -> None:
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        operator.more = {"NOETL_SERVER_URL": f"http://127.0.0.1:{other.server_port}"}
        found = examined(operator, 1)["server"]
        operator.more = {}
        other.shutdown()
    assert found["text"] == f"what answers at http://127.0.0.1:{other.server_port} is no noetl server"
    assert found["hint"] == "set NOETL_SERVER_URL, or NOETL_PORT"


def _where(operator: Operator) -> dict[str, str]:
    document = json.loads((operator.home / "embedded.json").read_text())["postgres"]
    return {"POSTGRES_PORT": str(document["port"])}
