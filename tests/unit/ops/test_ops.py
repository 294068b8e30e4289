"""The small parts: names, tables, ports, logs, the environment of a child, access lists."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from noetl import settings as configuration
from noetl.errors import UsageError
from noetl.ops import db, environment, owner, ports, process, server, services, tables, worker
from noetl.settings import Postgres, Secret, Settings


def test_settings_survive_the_way_into_a_child(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        port=9,
        server_url="http://there:1",
        postgres=Postgres("h", 1, "d", "u", Secret("p")),
        playbooks=Postgres("h2", 2, "d2", "u2", Secret("p2")),
        nats_url=Secret("nats://t@h:1"),
        api_token=Secret("token"),
        encryption_key=Secret("key"),
        lease_seconds=3,
        log_format="json",
        log_size=1000,
        log_count=2,
        playbook_env={"CITY": "Oslo", "NOETL_VAR_X": "1"},
    )
    assert configuration.read(environment.variables(settings)) == settings
    assert configuration.read(environment.variables(Settings(home=tmp_path))) == Settings(home=tmp_path)


def test_a_child_does_not_inherit_what_the_settings_leave_out(tmp_path: Path) -> None:
    child = environment.for_child(Settings(home=tmp_path), {"POSTGRES_HOST": "x", "NATS_URL": "y", "PATH": "/bin", "NOETL_HOME": "/z"})
    assert "POSTGRES_HOST" not in child
    assert "NATS_URL" not in child
    assert child["PATH"] == "/bin"
    assert child["NOETL_HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "count", "names"),
    [("", 1, ["worker-1"]), ("", 2, ["worker-1", "worker-2"]), ("gpu", 1, ["gpu"]), ("gpu", 2, ["gpu-1", "gpu-2"])],
)
def test_names_of_workers(name: str, count: int, names: list[str]) -> None:
    assert worker.names(name, count) == names


@pytest.mark.parametrize(("name", "count"), [("a/b", 1), ("../x", 1), ("", 0), ("x" * 65, 1)])
def test_names_that_no_worker_can_have(name: str, count: int) -> None:
    with pytest.raises(UsageError):
        worker.names(name, count)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.421, "0.42 s"), (59.94, "59.9 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (360000, "4 d 4 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_a_table_has_aligned_columns() -> None:
    assert tables.table([{"a": 1, "long_name": None}, {"a": "xyz", "long_name": 2}], ("a", "long_name")) == "A    LONG NAME\n1    -\nxyz  2"


def test_a_taken_port_is_seen_and_its_holder_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not ports.is_free("127.0.0.1", port)
        assert not ports.is_free("0.0.0.0", port)
        assert ports.holder(port).startswith(f"pid {os.getpid()} (")
        assert ports.reuse(port) != port
    assert ports.reuse(port) == port


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lets another user pass")
def test_passage_is_given_to_one_user_and_to_no_other(tmp_path: Path) -> None:
    import subprocess

    private = tmp_path / "private"
    (private / "inner").mkdir(parents=True)
    private.chmod(0o700)
    (private / "inner").chmod(0o755)
    owner.let_reach(private / "inner", 65534)

    def lists(folder: Path, uid: int) -> bool:
        return subprocess.run(["ls", folder], capture_output=True, user=uid, group=uid, extra_groups=[], check=False).returncode == 0

    assert lists(private / "inner", 65534)
    assert not lists(private, 65534)
    assert not lists(private / "inner", 65533)
    assert stat.S_IMODE(private.stat().st_mode) & 0o707 == 0o700
    owner.let_reach(private / "inner", 65533)
    assert lists(private / "inner", 65534)
    assert lists(private / "inner", 65533)


def test_flags_win_over_the_environment(tmp_path: Path) -> None:
    assert environment.variables(replace(Settings(home=tmp_path), port=1234))["NOETL_PORT"] == "1234"


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", -1), ("127.0.0.1", 65536), ("192.0.2.1", 8082), ("no.invalid", 8082)]
)
def test_where_no_server_can_listen_is_not_called_taken(tmp_path: Path, host: str, port: int) -> None:
    assert ports.refusal("127.0.0.1", 8082) == ""
    with pytest.raises(UsageError, match=r"is no port|is no address of this machine"):
        server.start(Settings(home=tmp_path, host=host, port=port))


@pytest.mark.parametrize("name", ["NOETL_PORT", "POSTGRES_PORT", "PLAYBOOKS_POSTGRES_PORT"])
def test_a_port_is_one(name: str) -> None:
    environ = {"POSTGRES_HOST": "h", "PLAYBOOKS_POSTGRES_HOST": "h", name: "65536"}
    with pytest.raises(UsageError, match=f"{name} is 65536, which is no port"):
        configuration.read(environ)


def test_a_secret_of_a_file_may_end_with_a_line() -> None:
    settings = configuration.read({"NOETL_API_TOKEN": "abc\n", "NATS_URL": " nats://there:1\n"})
    assert settings.api_token is not None
    assert settings.api_token.reveal() == "abc"
    assert settings.nats_url is not None
    assert settings.nats_url.reveal() == "nats://there:1"
    assert configuration.read({"NOETL_API_TOKEN": "\n"}).api_token is None


@pytest.mark.parametrize("token", ["a\nb", "a b", "é"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(UsageError, match="NOETL_API_TOKEN") as caught:
        configuration.read({"NOETL_API_TOKEN": token})
    assert token not in str(caught.value)


def test_the_embedded_database_is_not_reset_under_another_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the embedded database is 'noetl', not 'production'"):
        db.reset(Settings(home=tmp_path), "production")


def test_the_listing_needs_no_answering_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = psutil.Process()
    found = process.record("worker_w", mine, runs=("python",), log=tmp_path / "w.log", port=None, url=None, version="1")
    monkeypatch.setattr(worker, "running", lambda _home: [found])
    rows = services.listing(Settings(home=tmp_path, port=ports.free()))
    assert [(row["name"], row["state"]) for row in rows][-1] == ("worker w", "not ready")
