"""Verbs on hosts, over real sshd processes: in network namespaces where the machine allows it, else on loopback ports."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from acceptance_home import ROOT
from live import Live
from ssh_hosts import NETWORK, SSHD, USER, Sandbox, Sshd, can_make_namespaces, namespaces, own_address

import noetl

pytestmark = pytest.mark.skipif(SSHD is None, reason="LOUD SKIP: no sshd here; install openssh-server to test verbs on hosts")
WITH_NOETL = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, tuple[str, tuple[str, ...]]]]:
    """Addresses of the hosts, and how a process gets there."""
    if not can_make_namespaces():
        sys.stderr.write("LOUD: no network namespaces here: the hosts are ports of the loopback, and no cable can be pulled\n")
        yield dict.fromkeys(NAMES, ("127.0.0.1", ()))
        return
    with namespaces(list(NAMES)) as made:
        yield dict(made)


@pytest.fixture(scope="module")
def served(make_live: Callable[..., contextlib.AbstractContextManager[Live]]) -> Iterator[Live]:
    """A server that hosts can reach."""
    with make_live({"NOETL_HOST": "0.0.0.0"}) as one:
        one.server()
        yield one


@pytest.fixture
def sandbox(served: Live, places: dict[str, tuple[str, tuple[str, ...]]], tmp_path: Path) -> Iterator[Sandbox]:
    """An operator, and three hosts that have noetl."""
    one = Sandbox(tmp_path)
    one.make_keys()
    inside = bool(places["a"][1])
    address = f"{NETWORK}.1" if inside else own_address()
    if not address:
        pytest.skip("LOUD SKIP: this machine has no address but its loopback, where hosts could find a server")
    port = served.a_server.url.rpartition(":")[2]
    one.more = {"NOETL_SERVER_URL": f"http://{address}:{port}", "NOETL_API_TOKEN": served.token.reveal()}
    try:
        for name in NAMES:
            where, words = places[name]
            one.alias(one.host(name, address=where, inside=words, path=WITH_NOETL))
        yield one
    finally:
        one.close()


def rows(said: str) -> dict[str, list[str]]:
    """Return the table at the end of a verb's answer: the words of each host's line."""
    lines = said.splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith("HOST "))
    return {line.split()[0]: re.split(r"  +", line)[1:] for line in lines[start + 1 :]}


def worker_of(host: Sshd, name: str = "worker-1") -> psutil.Process:
    """Return the process of a host's worker, by its PID file."""
    return psutil.Process(int((host.home / ".noetl" / f"noetl_worker_{name}.pid").read_text()))


def test_r1_three_hosts_of_which_one_is_down(sandbox: Sandbox, served: Live) -> None:
    down = sandbox.hosts[1]
    down.stop()
    done = sandbox.run("-H", "a,b,c", "worker.start")
    assert done.returncode == 1
    table = rows(done.stdout)
    assert (table["a"][0], table["b"][0], table["c"][0]) == ("done", "failed", "done")
    assert "cannot connect to" in table["b"][2]
    assert "a | worker worker-1: ready, pid " in done.stdout
    down.start()
    again = sandbox.run("--failed", "worker", "start")
    assert again.returncode == 0, again.stderr
    assert list(rows(again.stdout)) == ["b"]
    assert "b | worker worker-1: ready" in again.stdout
    assert sandbox.ok("--failed", "worker.start") == "worker.start failed nowhere when it was last run\n"
    pids = {worker_of(host).pid for host in sandbox.hosts}
    assert {row["pid"] for row in served.api.get("/api/workers")["workers"] if row["status"] == "ready"} >= pids
    line = sandbox.ok("-H", "a", "worker.start", program="inv", cwd=ROOT)
    assert "a | worker worker-1: already running, pid" in line
    assert {worker_of(host).pid for host in sandbox.hosts} == pids


def test_r2_a_worker_survives_the_end_of_the_session_and_of_sshd(sandbox: Sandbox) -> None:
    host = sandbox.hosts[0]
    sandbox.ok("-H", "a", "worker", "start", "--name", "w")
    worker = worker_of(host, "w")
    assert host.sessions() == []
    host.stop()
    time.sleep(0.3)
    assert worker.is_running()
    host.start()
    assert "w" in sandbox.ok("-H", "a", "worker.list")
    assert "a | worker w: stopped" in sandbox.ok("-H", "a", "worker.stop", "--name", "w")
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert not (host.home / ".noetl" / "noetl_worker_w.pid").exists()


def test_r3_a_secret_is_in_no_command_line_and_no_file(sandbox: Sandbox, served: Live) -> None:
    secret = served.token.reveal()
    letters = sandbox.hosts[0].home / ".noetl" / "letters"
    modes = set()
    with sandbox.popen("-H", "a", "worker.start") as verb:
        while verb.poll() is None:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    assert secret not in " ".join(process.cmdline())
            for letter in letters.glob("*"):
                with contextlib.suppress(OSError):
                    found = letter.stat()
                    modes |= {found.st_mode & 0o777} if found.st_size else set()
        assert verb.returncode == 0
        assert secret not in verb.communicate()[0]
    assert modes <= {0o600}
    assert list(letters.iterdir()) == []
    for file in sandbox.hosts[0].folder.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_r4_ssh_config_is_honoured(sandbox: Sandbox) -> None:
    jump = sandbox.hosts[0]
    hidden = sandbox.host("hidden", address="127.0.0.1", inside=jump.inside, path=WITH_NOETL) if not jump.inside else None
    if hidden is None:
        # Inside the namespace's own loopback: nobody reaches it but over the jump host.
        hidden = hidden_host(sandbox, jump)
    key = sandbox.home / "another_key"
    (sandbox.home / ".ssh" / "id_ed25519").rename(key)
    included = sandbox.home / ".ssh" / "config.d"
    included.mkdir()
    (included / "jump").write_text(f"Host behind\n  HostName 127.0.0.1\n  Port {hidden.port}\n  ProxyJump a\n")
    config = sandbox.home / ".ssh" / "config"
    config.write_text(f"Include config.d/*\n{config.read_text()}\nHost *\n  IdentityFile {key}\n  IdentitiesOnly yes\n")
    said = sandbox.run("-H", "behind", "ps")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "behind | postgres" in said.stdout
    assert f"127.0.0.1:{hidden.port} via " in sandbox.ok("-R", "-H", "behind", "ps")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config.write_text(config.read_text() + f"Host mute\n  HostName 127.0.0.1\n  Port {silent.getsockname()[1]}\n  ConnectTimeout 1\n")
        done = sandbox.run("-H", "mute", "ps")
    assert done.returncode == 1
    assert float(rows(done.stdout)["mute"][1]) < 8


def hidden_host(sandbox: Sandbox, jump: Sshd) -> Sshd:
    """Start a host that listens on the loopback of another's namespace."""
    one = Sshd("hidden", jump.folder, "127.0.0.1", 2222, jump.inside)
    config = (jump.folder / "sshd_config").read_text().replace("Port 22\n", "Port 2222\n")
    other = jump.folder / "hidden_config"
    other.write_text(config.replace(f"ListenAddress {jump.address}", "ListenAddress 127.0.0.1"))
    assert SSHD
    one.process = subprocess.Popen([*jump.inside, SSHD, "-D", "-e", "-f", str(other)], stderr=subprocess.DEVNULL)
    sandbox.hosts.append(one)
    kind, key, *_ = (jump.folder / "host_key.pub").read_text().split()
    with (sandbox.home / ".ssh" / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:2222 {kind} {key}\n")
    for _ in range(200):
        if subprocess.run([*jump.inside, "ss", "-tlnH", "sport = :2222"], capture_output=True, check=False).stdout:
            break
        time.sleep(0.02)
    return one


def test_several_verbs_in_one_line_and_letters_that_nobody_read(sandbox: Sandbox) -> None:
    letters = sandbox.hosts[0].home / ".noetl" / "letters"
    letters.mkdir(parents=True)
    (letters / "old").write_text("{}")
    os.utime(letters / "old", (0, 0))
    words = ["-H", "a", "worker.start", "--name", "x", "worker.start", "--name", "y"]
    said = sandbox.ok(*words, program="inv", cwd=ROOT)
    assert "a | worker x: ready" in said
    assert "a | worker y: ready" in said
    assert list(letters.iterdir()) == []
    assert sandbox.ok("-H", "a", "worker.stop", "--all").count("stopped (pid") == 2


def test_two_operators_start_one_worker(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: sandbox.ok("-H", "a", "worker.start"), range(2)))
    pid = worker_of(sandbox.hosts[0]).pid
    assert all(f"pid {pid}" in one for one in said)
    assert sorted("already running" in one for one in said) == [False, True]


def test_a_connection_cut_in_the_middle(sandbox: Sandbox) -> None:
    host = sandbox.hosts[0]
    sandbox.ok("-H", "a", "worker.start")
    with sandbox.popen("-H", "a,b", "worker.logs", "--follow") as verb:
        wait_for(lambda: remote_verbs(sandbox, "worker.logs"), "the log is followed")
        time.sleep(1)
        host.cut()
        out, _ = verb.communicate(timeout=60)
        assert verb.returncode == 1
    table = rows(out)
    assert table["a"][0] == "failed"
    assert "the connection broke while it ran" in table["a"][2]
    wait_for(lambda: not remote_verbs(sandbox, "worker.logs"), "the verb on the host has ended too")
    assert worker_of(host).is_running()


def test_a_cable_pulled_in_the_middle(sandbox: Sandbox) -> None:
    host = sandbox.hosts[0]
    if not host.inside:
        pytest.skip("LOUD SKIP: no network namespaces here, so no cable to pull")
    sandbox.ok("-H", "a", "worker.start")
    config = sandbox.home / ".ssh" / "config"
    config.write_text(config.read_text() + "Host *\n  ServerAliveInterval 1\n  ServerAliveCountMax 2\n")
    link = [*host.inside, "ip", "link", "set", "lo", "down"]
    device = subprocess.run([*host.inside, "ls", "/sys/class/net"], capture_output=True, text=True, check=True).stdout.split()
    link[-2] = next(name for name in device if name.startswith("nb"))
    with sandbox.popen("-H", "a", "worker.logs", "--follow") as verb:
        wait_for(lambda: remote_verbs(sandbox, "worker.logs"), "the log is followed")
        time.sleep(1)
        try:
            subprocess.run(link, check=True)
            out, _ = verb.communicate(timeout=60)
        finally:
            subprocess.run([*link[:-1], "up"], check=True)
    assert verb.returncode == 1
    assert "the connection broke" in rows(out)["a"][2]


def test_ctrl_c_ends_the_verb_here_and_there(sandbox: Sandbox) -> None:
    sandbox.ok("-H", "a,b", "worker.start")
    with sandbox.popen("-H", "a,b", "worker.logs", "--follow") as verb:
        wait_for(lambda: len(remote_verbs(sandbox, "worker.logs")) >= 2, "both logs are followed")
        time.sleep(0.5)
        verb.send_signal(signal.SIGINT)
        out, _ = verb.communicate(timeout=30)
    assert verb.returncode == 130
    assert {row[0] for row in rows(out).values()} == {"interrupted"}
    wait_for(lambda: not remote_verbs(sandbox, "worker.logs"), "the verbs on the hosts have ended")
    assert all(worker_of(host).is_running() for host in sandbox.hosts[:2])


def test_a_host_whose_disk_is_full(sandbox: Sandbox) -> None:
    host = sandbox.hosts[0]
    host.stop()
    home = host.home / ".noetl"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)], capture_output=True, check=False).returncode:
        pytest.skip("LOUD SKIP: this user cannot mount a small disk")
    try:
        host.start()
        (home / "letters").mkdir()
        with contextlib.suppress(OSError):
            (home / "filler").write_bytes(b"x" * 100_000)
        done = sandbox.run("-H", "a,b", "worker.start")
        assert done.returncode == 1
        assert rows(done.stdout)["b"][0] == "done"
        assert "its disk is full" in rows(done.stdout)["a"][2]
        assert list((home / "letters").iterdir()) == []
    finally:
        host.stop()
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_unknown_and_changed_keys(sandbox: Sandbox) -> None:
    known = sandbox.home / ".ssh" / "known_hosts"
    others = [line for line in known.read_text().splitlines() if sandbox.hosts[0].address not in line or "[" in line]
    known.write_text("\n".join(others[1:] if not sandbox.hosts[0].inside else others) + "\n")
    refused = sandbox.run("-H", "a", "ps")
    assert refused.returncode == 1
    assert "is not known: ssh-ed25519 SHA256:" in refused.stderr
    assert "if that is its key: inv --accept-new -H a ps" in refused.stderr
    assert known.read_text() == "\n".join(others[1:] if not sandbox.hosts[0].inside else others) + "\n"
    sandbox.ok("--accept-new", "-H", "a", "ps")
    sandbox.ok("-H", "a", "ps")
    other = (sandbox.hosts[1].folder / "host_key.pub").read_text().split()[1]
    mine = (sandbox.hosts[0].folder / "host_key.pub").read_text().split()[1]
    known.write_text(known.read_text().replace(mine, other))
    changed = sandbox.run("--accept-new", "-H", "a", "ps")
    assert changed.returncode == 1
    assert "is another than the known one" in changed.stderr
    assert "ssh-keygen -R" in changed.stderr


def test_one_host_that_cannot_be_understood_leaves_the_others_alone(sandbox: Sandbox) -> None:
    config = sandbox.home / ".ssh" / "config"
    config.write_text(f"Host a\n  ConnectTimeout soon\n{config.read_text()}")
    known = sandbox.home / ".ssh" / "known_hosts"
    known.write_text(f"# a comment\n@cert-authority *.example ssh-ed25519 AAAA\nnonsense\n{known.read_text()}")
    done = sandbox.run("-H", "a,b:no,b", "ps")
    assert done.returncode == 1, done.stderr
    table = rows(done.stdout)
    assert (table["a"][0], table["b:no"][0], table["b"][0]) == ("failed", "failed", "done"), done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_hosts_cannot_use_starts_nothing(sandbox: Sandbox) -> None:
    good = dict(sandbox.more)
    for url, code, said in (
        ("http://127.0.0.1:8082", 2, "is this machine's own address"),
        ("http://localhost:8082", 2, "is this machine's own address"),
        (good["NOETL_SERVER_URL"].rpartition(":")[0] + ":9", 1, "this host does not reach the server"),
    ):
        sandbox.more = good | {"NOETL_SERVER_URL": url}
        done = sandbox.run("-H", "a", "worker.start")
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert "set NOETL_SERVER_URL" in done.stderr
    sandbox.more = good | {"NOETL_API_TOKEN": "not-the-token"}
    refused = sandbox.run("-H", "a", "worker.start")
    assert refused.returncode == 1
    assert "refuses the token" in refused.stderr
    assert not list((sandbox.hosts[0].home / ".noetl").glob("*.pid"))
    del good["NOETL_SERVER_URL"]
    sandbox.more = good
    assert sandbox.run("-H", "a", "worker.start").returncode == 2


def test_hosts_without_noetl_or_with_another_version(sandbox: Sandbox) -> None:
    bin_ = sandbox.hosts[0].home / ".noetl" / "current" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "noetl").write_text("#!/bin/sh\necho noetl 0.0.1\n")
    (bin_ / "noetl").chmod(0o755)
    bare = sandbox.hosts[1]
    bare.stop()
    config = bare.folder / "sshd_config"
    config.write_text(config.read_text().replace(WITH_NOETL, os.defpath))
    bare.start()
    done = sandbox.run("-H", "a,b", "worker.start")
    assert done.returncode == 1
    assert "noetl is 0.0.1 there and" in rows(done.stdout)["a"][2]
    assert rows(done.stdout)["b"][2] == "noetl is not installed there"
    assert "inv -H b host.install" in done.stderr


def test_groups_batches_fail_fast_and_json(sandbox: Sandbox) -> None:
    sandbox.hosts[0].stop()
    file = sandbox.home / ".noetl" / "hosts.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("groups: {workers: [a, b], all: ['@workers', c]}\n")
    done = sandbox.run("-H", "@all", "--batch", "1", "--fail-fast", "ps")
    assert done.returncode == 1
    assert [row[0] for row in rows(done.stdout).values()] == ["failed", "not run", "not run"]
    found = json.loads(sandbox.run("-H", "@all", "ps", "--json").stdout)["hosts"]
    assert [(one["host"], one["result"]) for one in found] == [("a", "failed"), ("b", "done"), ("c", "done")]
    assert {row["name"] for row in found[1]["output"]["services"]} == {"postgres", "nats", "server"}
    looked = json.loads(sandbox.run("-H", "b", "doctor", "--json").stdout)["hosts"]
    assert looked[0]["output"]["well"], looked
    planned = sandbox.ok("-R", "-H", "@all", "worker.start", "--name", "w")
    assert len(planned.splitlines()) == 3
    assert "noetl worker.start --name=w" in planned
    assert "NOETL_API_TOKEN=***" in planned
    for words in (
        ["-H", "a", "run", "x.yaml"],
        ["-H", "a", "--parallel", "no", "ps"],
        ["-H", "@no", "ps"],
        ["-H", "a", "--batch", "no", "ps"],
    ):
        assert sandbox.run(*words).returncode == 2, words
    assert sandbox.run("host.list").returncode == 2


def test_a_roll_goes_on_when_a_batch_is_back(sandbox: Sandbox, served: Live) -> None:
    sandbox.ok("-H", "a,b,c", "worker.start")

    def rolled(*flags: str) -> list[tuple[str, float]]:
        before = {host.name: worker_of(host) for host in sandbox.hosts}
        said = sandbox.ok("-H", "a,b,c", *flags, "worker.roll")
        after = {host.name: worker_of(host) for host in sandbox.hosts}
        assert not [one for one in before.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert all(f"{name} | worker worker-1: back as {noetl.__version__}, pid {one.pid}" in said for name, one in after.items())
        assert {one.pid for one in after.values()} <= {row["pid"] for row in served.api.get("/api/workers")["workers"]}
        order = [line.split(" | ")[0] for line in said.splitlines() if ": back as" in line]
        return [(name, after[name].create_time()) for name in order]

    # A quarter of three hosts is one of them, and so it is without a flag.
    for flags in ([], ["--batch", "25%"]):
        order = rolled(*flags)
        assert [name for name, _ in order] == ["a", "b", "c"]
        assert [begun for _, begun in order] == sorted(begun for _, begun in order)
    order = rolled("--batch", "67%")
    assert order[-1][0] == "c"
    assert order[-1][1] > max(begun for _, begun in order[:2])


def test_a_dry_run_connects_to_nothing(sandbox: Sandbox) -> None:
    for host in sandbox.hosts:
        host.stop()
    a = sandbox.hosts[0]
    url = sandbox.more["NOETL_SERVER_URL"]
    there = f"a ({USER}@{a.address}:{a.port})"
    line = f"{there}: noetl worker.start --name=w --count=2  NOETL_API_TOKEN=*** NOETL_SERVER_URL={url}\n"
    words = ["-H", "a", "worker.start", "--name", "w", "--count", "2"]
    assert sandbox.ok("-R", *words, program="inv", cwd=ROOT) == line
    assert sandbox.ok("-R", "-H", "a", "worker", "start", "--name", "w", "--count", "2") == line
    assert sandbox.ok("-R", "-H", "a", "host.install", "--version", "7.7.7") == f"{there}: install noetl 7.7.7\n"
    assert sandbox.ok("-R", "-H", "a", "host.list") == f"{there}: list the versions\n"
    assert sandbox.ok("-R", "-H", "a", "host.rollback") == f"{there}: switch to the version before\n"
    assert not (sandbox.home / ".noetl").exists(), "nothing failed, and nothing is remembered"


@pytest.mark.parametrize("verb", ["up", "down", "demo", "run x.yaml", "build", "k8s.deploy", "execution.list", "catalog.list", "lint"])
def test_verbs_that_make_no_sense_on_hosts_say_so(sandbox: Sandbox, verb: str) -> None:
    refused = sandbox.run("-H", "a", *verb.split(), program="inv", cwd=ROOT)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"error: {verb.split()[0]} makes no sense on hosts: " in refused.stderr
    assert "with -H go: server.*, worker.*, db.*, ps, doctor, logs, host.*" in refused.stderr
    assert refused.stdout == ""


def test_new_keys_of_several_hosts_are_taken_at_the_same_time(sandbox: Sandbox) -> None:
    known = sandbox.home / ".ssh" / "known_hosts"
    known.unlink()
    refused = sandbox.run("-H", "a,b,c", "ps")
    assert refused.returncode == 1
    assert refused.stderr.count("if that is its key: inv --accept-new -H ") == 3
    assert not known.exists() or known.read_text() == ""
    sandbox.ok("--accept-new", "-H", "a,b,c", "ps")
    keys = {line.split()[2] for line in known.read_text().splitlines()}
    assert keys == {(host.folder / "host_key.pub").read_text().split()[1] for host in sandbox.hosts}
    sandbox.ok("-H", "a,b,c", "ps")


def test_each_host_has_a_colour_where_colours_are_shown(sandbox: Sandbox) -> None:
    sandbox.hosts[1].stop()
    sandbox.more |= {"NO_COLOR": "", "TERM": "xterm"}
    ours, theirs = os.openpty()
    with sandbox.popen("-H", "a,b", "ps", stdout=theirs) as verb:
        os.close(theirs)
        shown = b""
        # Linux ends a terminal whose last process is gone with an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part
        _, errors = verb.communicate(timeout=60)
    os.close(ours)
    assert "\x1b[36ma |\x1b[0m postgres" in shown.decode()
    assert errors.startswith("b | error: cannot connect to "), "a file of errors has no colours"
    assert "\x1b" not in sandbox.run("-H", "a,b", "ps").stdout


def test_what_is_installed_is_listed(sandbox: Sandbox) -> None:
    sandbox.hosts[2].stop()
    release = sandbox.hosts[0].home / ".noetl" / "releases" / "1.2.3"
    release.mkdir(parents=True)
    (release / ".noetl-release.json").write_text("{}")
    (release.parents[1] / "current").symlink_to(release)
    done = sandbox.run("-H", "a,b,c", "host.list")
    assert done.returncode == 1
    machine = r"; Python 3\.\d+\.\d+, \S+, \S+ \S+, \S+ [MGT]iB free$"
    assert re.search(rf"^a \| in use 1\.2\.3; installed 1\.2\.3{machine}", done.stdout, re.MULTILINE)
    assert re.search(rf"^b \| in use none; installed none{machine}", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows(done.stdout).values()] == ["done", "done", "failed"]
    found = json.loads(sandbox.run("-H", "a,b,c", "host.list", "--json").stdout)["hosts"]
    assert [one["result"] for one in found] == ["done", "done", "failed"]
    assert (found[0]["output"]["current"], found[0]["output"]["versions"]) == ("1.2.3", ["1.2.3"])


def remote_verbs(sandbox: Sandbox, verb: str) -> list[psutil.Process]:
    """Return the processes on hosts that run a verb."""
    found = []
    for process in sandbox.processes():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            found += [process] if "--over-ssh" in words and verb in words else []
    return found


def wait_for(condition: Callable[[], object], what: str, within: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"after {within} s it is still not so that {what}")
