"""The systemd unit on a live systemd: a manager of its own, in its own control group, that knows nothing but our unit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from acceptance_home import PLAYBOOK
from test_lifecycle import wait_for

from noetl.ops import ports

SYSTEMD = next((path for path in (Path("/lib/systemd/systemd"), Path("/usr/lib/systemd/systemd")) if path.exists()), None)
GROUPS = Path("/sys/fs/cgroup")
# The units that every manager needs, and no other of this machine.
TARGETS = {
    "basic.target": "[Unit]\nDescription=Basic\n",
    "default.target": "[Unit]\nDescription=Default\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
    "shutdown.target": "[Unit]\nDescription=Shutdown\nDefaultDependencies=no\n",
}
# Into its own control group first, which is the root of all that the manager sees.
BEGIN = """
echo $$ > "$1/cgroup.procs" &&
exec unshare --mount --cgroup sh -c '
    mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system &&
    exec "$0" --user --log-target=console --log-level=info
' "$2"
"""


@dataclass
class Manager:
    """A systemd of one user, and that user's words to it."""

    folder: Path
    group: Path
    process: subprocess.Popen[bytes]

    @property
    def environ(self) -> dict[str, str]:
        """The user's environment."""
        return environment(self.folder)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the manager is."""
        command = ["nsenter", f"--target={self.process.pid}", "--mount", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100
        )

    def ok(self, *words: str) -> str:
        """Run a command that has to succeed and return what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def noetl(self, *words: str) -> str:
        """Run a verb that has to succeed."""
        return self.ok(sys.executable, "-m", "noetl.cli", *words)

    def shown(self, what: str) -> str:
        """Return a property of our unit."""
        return self.ok("systemctl", "--user", "show", "--value", f"--property={what}", "noetl").strip()

    def pids(self) -> dict[str, int]:
        """Return the PIDs of all that runs, by name; empty until all of it does."""
        rows = json.loads(self.noetl("ps", "--json"))["services"]
        found = {row["name"]: row["pid"] for row in rows if row["state"] == "running"}
        return found if len(found) == 4 else {}

    def members(self) -> list[int]:
        """Return the PIDs in the unit's control group, and in those below it."""
        found = []
        for one in self.group.rglob("noetl.service/**/cgroup.procs"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in one.read_text().split()]
        return found


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the manager's user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOETL_", "POSTGRES_", "NATS_", "XDG_", "DBUS_"))}
    units = f"{folder / 'units'}:{folder / 'home' / '.config' / 'systemd' / 'user'}"
    return kept | {
        "HOME": str(folder / "home"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "SYSTEMD_UNIT_PATH": units,
        "NOETL_HOST": "127.0.0.1",
        "NOETL_PORT": (folder / "port").read_text(),
    }


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    if SYSTEMD is None or not shutil.which("systemctl"):
        pytest.skip("LOUD SKIP: no systemd is installed here, so the unit is not tried")
    above = next((path for path in (GROUPS / "unified", GROUPS) if (path / "cgroup.procs").exists()), None)
    group = (above or GROUPS) / f"noetl-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"LOUD SKIP: no control group can be made here, so the unit is not tried: {error}")
    for name in ("units", "home", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "port").write_text(str(ports.free()))
    for name, text in TARGETS.items():
        (tmp_path / "units" / name).write_text(text)
    with (tmp_path / "log").open("wb") as log:
        words = ["sh", "-c", BEGIN, "sh", str(group), str(SYSTEMD)]
        process = subprocess.Popen(words, env=environment(tmp_path), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        one = Manager(tmp_path, group, process)
        if not begins(one):
            pytest.skip(f"LOUD SKIP: no systemd of one's own runs here, so the unit is not tried: {(tmp_path / 'log').read_text()}")
        yield one
    finally:
        process.kill()
        process.wait()
        wait_for(lambda: not killed(group))
        for path in sorted(group.rglob("*/"), reverse=True):
            if path.is_dir():
                path.rmdir()
        group.rmdir()


def begins(one: Manager) -> bool:
    """Wait until the manager answers; tell whether it does."""
    ended: list[bool] = []

    def answers() -> bool:
        ended[:] = [True] if one.process.poll() is not None else []
        return bool(ended) or one.run("systemctl", "--user", "is-active", "default.target").returncode == 0

    wait_for(answers)
    return not ended


def killed(group: Path) -> list[int]:
    """Kill what is in a control group, and in those below it; return what there was."""
    found = [int(pid) for one in group.rglob("cgroup.procs") for pid in one.read_text().split()]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


@pytest.mark.timeout(300)
def test_the_unit_starts_comes_back_and_stops_by_draining(manager: Manager) -> None:
    home = manager.folder / "home" / ".noetl"
    said = manager.noetl("service", "install")
    assert str(manager.folder / "home" / ".config" / "systemd" / "user" / "noetl.service") in said
    first = said.splitlines()[-2].strip()
    assert first == "systemctl --user enable --now noetl", "the line to type"
    assert manager.run(*first.split()).returncode == 0
    wait_for(manager.pids)
    before = manager.pids()
    main = int(manager.shown("MainPID"))
    assert {*before.values(), main} <= set(manager.members()), "all of it is of the unit"

    # What nobody can catch, of the process in front and of one behind it: all of it is there again, and nothing of before.
    for victim in ("in front", "server"):
        members = [psutil.Process(pid) for pid in manager.members()]
        os.kill(before.get(victim, main), signal.SIGKILL)
        wait_for(lambda old=main: manager.shown("MainPID") not in ("0", str(old)) and manager.pids())
        assert not [one for one in members if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        main, before = int(manager.shown("MainPID")), manager.pids()
    assert manager.shown("NRestarts") == "2"

    playbook = manager.folder / "story.yaml"
    playbook.write_text(PLAYBOOK)
    manager.noetl("run", str(playbook), "--set", "pause=60", "--detach")
    wait_for(
        lambda: any(row["running"] for row in json.loads(manager.noetl("ps", "--json"))["services"] if row["name"].startswith("worker"))
    )
    manager.ok("systemctl", "--user", "stop", "noetl")
    assert (manager.shown("ActiveState"), manager.shown("Result")) == ("inactive", "success")
    assert manager.members() == []
    assert list(home.glob("*.pid")) == []
    log = (manager.folder / "log").read_text()
    assert "Killing process" not in log.rpartition("Stopping")[2], "nothing had to be killed"
    assert "noetl.service: is as it should be\n" in manager.noetl("service", "install")
