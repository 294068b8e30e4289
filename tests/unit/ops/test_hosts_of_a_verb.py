"""Which hosts are meant, and what travels to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noetl.errors import NoetlError, UsageError
from noetl.ops import hosts, outcomes, remote
from noetl.ops.hosts import Host, HostsFile
from noetl.ops.outcomes import NOT_RUN, Outcome
from noetl.ops.remote import Place
from noetl.settings import read

FILE = hosts.parse(
    {"groups": {"workers": ["a", "me@b:2222"], "all": ["@workers", "c", "a"]}, "hosts": {"a": {"home": "/srv/noetl", "env": {"X": 1}}}}, "f"
)


@pytest.mark.parametrize(
    ("given", "names"),
    [("a", ["a"]), ("a, c,a", ["a", "c"]), ("@workers", ["a", "me@b:2222"]), ("@all,d", ["a", "me@b:2222", "c", "d"])],
)
def test_hosts_are_chosen(given: str, names: list[str]) -> None:
    assert [host.name for host in hosts.choose(given, FILE)] == names


def test_a_host_has_its_options() -> None:
    assert hosts.choose("a", FILE) == [Host("a", home="/srv/noetl", env={"X": "1"})]


@pytest.mark.parametrize("given", ["", " , ", "@nowhere", "-oProxyCommand=x", "a b"])
def test_what_is_no_host(given: str) -> None:
    with pytest.raises(UsageError):
        hosts.choose(given, FILE)


def test_a_group_within_itself() -> None:
    with pytest.raises(UsageError, match="x > y > x"):
        hosts.choose("@x", HostsFile({"x": ["@y"], "y": ["@x"]}))


@pytest.mark.parametrize("document", [[], {"group": {}}, {"groups": {"a": "b"}}, {"hosts": {"a": {"color": 1}}}, {"worker": {"url": 1}}])
def test_a_broken_hosts_file(document: Any) -> None:
    with pytest.raises(UsageError):
        hosts.parse(document, "hosts.yaml")


def test_the_projects_file_is_over_the_homes(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("groups: {w: [a], h: [x]}\nworker: {server_url: http://one:1}\n")
    (tmp_path / "invoke.yaml").write_text("hosts: {groups: {w: [b]}}\n")
    file = hosts.read(tmp_path, tmp_path)
    assert file.groups == {"w": ["b"], "h": ["x"]}
    assert file.server_url == "http://one:1"
    assert hosts.read(tmp_path, tmp_path, {"groups": {"w": ["c"]}}).groups["w"] == ["c"]
    assert hosts.read(tmp_path / "nowhere", tmp_path / "nowhere") == HostsFile()


@pytest.mark.parametrize(
    ("batch", "sizes"), [("", [10]), ("3", [3, 3, 3, 1]), ("25%", [2, 2, 2, 2, 2]), ("1%", [1] * 10), ("100%", [10]), ("99", [10])]
)
def test_batches(batch: str, sizes: list[int]) -> None:
    assert [len(one) for one in hosts.batches([Host(str(number)) for number in range(10)], batch)] == sizes


@pytest.mark.parametrize("batch", ["0", "-1", "x", "101%", "%", "0%"])
def test_no_batches(batch: str) -> None:
    with pytest.raises(UsageError):
        hosts.batches([Host("a")], batch)


@pytest.mark.parametrize("verb", ["server.start", "worker.logs", "db.init", "ps", "logs", "doctor"])
def test_verbs_that_go_to_hosts(verb: str) -> None:
    remote.check_verb(verb)


@pytest.mark.parametrize("verb", ["run", "demo", "up", "test", "catalog.list", "execution.get", "server"])
def test_verbs_that_stay(verb: str) -> None:
    with pytest.raises(UsageError, match="makes no sense on hosts"):
        remote.check_verb(verb)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8082", "http://localhost", "http://[::1]:1", "http://0.0.0.0:8082", "http://127.9.9.9", ""]
)
def test_a_loopback_url_is_for_no_workers_start(url: str) -> None:
    settings = read({"HOME": "/h", "NOETL_SERVER_URL": url})
    with pytest.raises(UsageError, match="server"):
        remote.server_url("worker.start", settings, HostsFile())
    assert remote.server_url("worker.stop", settings, HostsFile()) == ""


def test_the_operators_url_is_before_the_files() -> None:
    file = HostsFile(server_url="http://file:1")
    assert remote.server_url("worker.start", read({"HOME": "/h"}), file) == "http://file:1"
    assert remote.server_url("worker.start", read({"HOME": "/h", "NOETL_SERVER_URL": "http://op:1"}), file) == "http://op:1"


OPERATOR = {
    "HOME": "/h",
    "PATH": "/bin",
    "NOETL_HOME": "/here",
    "NOETL_PORT": "9",
    "NOETL_ENCRYPTION_KEY": "k",
    "NOETL_MAX_WORKERS": "4",
    "NOETL_VAR_X": "x",
    "NOETL_PLAYBOOK_ENV": "REGION",
    "REGION": "eu",
    "POSTGRES_PASSWORD": "p",
    "NATS_URL": "n",
}


def test_what_travels_with_a_worker_and_with_a_server() -> None:
    host = Host("a", home="/there", env={"NOETL_MAX_WORKERS": "8"})
    worker = remote.environ("worker.start", OPERATOR, "t", "http://s:1", host)
    assert worker == {
        "NOETL_MAX_WORKERS": "8",
        "NOETL_VAR_X": "x",
        "NOETL_PLAYBOOK_ENV": "REGION",
        "REGION": "eu",
        "NOETL_SERVER_URL": "http://s:1",
        "NOETL_API_TOKEN": "t",
        "NOETL_HOME": "/there",
    }
    server = remote.environ("server.start", OPERATOR, "", "", Host("a"))
    assert {"POSTGRES_PASSWORD", "NATS_URL", "NOETL_ENCRYPTION_KEY", "NOETL_PORT"} <= set(server)
    assert not {"NOETL_HOME", "PATH", "HOME", "NOETL_API_TOKEN"} & set(server)
    shown = remote.shown(server | worker)
    assert "NOETL_API_TOKEN=***" in shown
    assert "POSTGRES_PASSWORD=***" in shown
    assert "NOETL_SERVER_URL=http://s:1" in shown


def test_a_place_and_its_version() -> None:
    assert remote.place("/home/u\n/home/u/bin/noetl\nnoetl 1.2\n") == Place("/home/u", "/home/u/bin/noetl", "1.2")
    assert remote.place("/home/u\n") == Place("/home/u")
    with pytest.raises(NoetlError):
        remote.place("")
    with pytest.raises(NoetlError, match="nothing was started"):
        remote.check_place("worker.start", Place("/", "/noetl", "0.0.0"), Host("a"))
    assert "0.0.0 there" in remote.check_place("worker.stop", Place("/", "/noetl", "0.0.0"), Host("a"))
    with pytest.raises(NoetlError, match="not installed"):
        remote.check_place("ps", Place("/"), Host("a"))


def test_what_failed_is_remembered_by_verb_and_host(tmp_path: Path) -> None:
    outcomes.remember(tmp_path, "ps", [Outcome("a", 0), Outcome("b", 1), Outcome("c", NOT_RUN)])
    assert outcomes.failed(tmp_path, "ps") == ["b", "c"]
    outcomes.remember(tmp_path, "ps", [Outcome("b", 0)])
    assert outcomes.failed(tmp_path, "ps") == ["c"]
    assert outcomes.failed(tmp_path, "worker.start") == []


def test_the_worst_exit_code() -> None:
    assert outcomes.worst([Outcome("a", 0), Outcome("b", 2), Outcome("c", NOT_RUN)]) == 2
    assert outcomes.worst([Outcome("a", 0), Outcome("c", NOT_RUN)]) == 1
    assert outcomes.worst([]) == 0
