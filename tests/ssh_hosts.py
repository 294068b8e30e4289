"""Hosts for tests: real sshd processes, on loopback ports or in network namespaces, each with a home of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from noetl.ops import ports

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
NETWORK = "10.231.87"
USER = pwd.getpwuid(os.getuid()).pw_name


@dataclass
class Sshd:
    """One host: an sshd that takes the operator's key, with its own home."""

    name: str
    folder: Path
    address: str
    port: int
    inside: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """The home of the host's user."""
        return self.folder / "home"

    def start(self) -> None:
        """Start the sshd and wait until it answers."""
        assert SSHD
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it, and only its service makes it
        config = self.folder / "sshd_config"
        words = [*self.inside, SSHD, "-D", "-e", "-f", str(config)]
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
                return
            assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
            time.sleep(0.02)
        raise AssertionError(f"no sshd at {self.address}:{self.port}")

    def sessions(self) -> list[psutil.Process]:
        """Return the processes that serve its connections."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=False)

    def cut(self) -> None:
        """Cut its connections as a dying network does, what they started left alone."""
        for process in self.sessions():
            for one in [*process.children(), process]:
                with contextlib.suppress(psutil.Error):
                    if "sshd" in one.name():
                        one.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the sshd and its sessions; what daemons were started from it stay."""
        if self.process is not None:
            with contextlib.suppress(psutil.Error):
                self.cut()
            self.process.terminate()
            self.process.wait(5)
            self.process = None


@dataclass
class Sandbox:
    """An operator with a home and keys, and hosts that know them."""

    folder: Path
    hosts: list[Sshd] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The operator's home."""
        return self.folder / "operator"

    @property
    def environ(self) -> dict[str, str]:
        """The operator's environment."""
        left_out = ("NOETL_", "POSTGRES_", "NATS_", "SSH_", "PYTHON")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return clean | {"HOME": str(self.home), "NO_COLOR": "1"} | self.more

    def make_keys(self) -> None:
        """Make the operator's key."""
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        _quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.home / ".ssh" / "id_ed25519"))

    def host(self, name: str, *, address: str = "127.0.0.1", inside: tuple[str, ...] = (), known: bool = True, path: str = "") -> Sshd:
        """Make a host and start it; `path` is the PATH of its sessions."""
        folder = self.folder / name
        (folder / "home").mkdir(parents=True)
        one = Sshd(name, folder, address, 22 if inside else ports.free(), inside)
        _quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key"))
        keys = folder / "authorized_keys"
        keys.write_text((self.home / ".ssh" / "id_ed25519.pub").read_text())
        (folder / "sshd_config").write_text(
            f"Port {one.port}\nListenAddress {address}\nHostKey {folder}/host_key\nAuthorizedKeysFile {keys}\n"
            f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
            f"Subsystem sftp internal-sftp\nSetEnv HOME={folder}/home PATH={path or os.defpath}\n"
        )
        self.hosts.append(one)
        if known:
            self.know(one)
        one.start()
        return one

    def know(self, host: Sshd) -> None:
        """Write the host's key into the operator's known hosts."""
        where = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
        kind, key, *_ = (host.folder / "host_key.pub").read_text().split()
        with (self.home / ".ssh" / "known_hosts").open("a") as file:
            file.write(f"{where} {kind} {key}\n")

    def alias(self, host: Sshd, *options: str, name: str = "") -> None:
        """Give a host its name in the operator's ssh_config."""
        lines = [f"Host {name or host.name}", f"HostName {host.address}", f"Port {host.port}", f"User {USER}", *options]
        with (self.home / ".ssh" / "config").open("a") as file:
            file.write("\n  ".join(lines) + "\n")

    def popen(self, *words: str, program: str = "noetl", **options: object) -> subprocess.Popen[str]:
        """Start a verb as the operator and do not wait for it."""
        command = [sys.executable, "-m", "noetl.cli"] if program == "noetl" else [str(Path(sys.executable).parent / program)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.home} | options
        return subprocess.Popen([*command, *words], env=self.environ, text=True, **streams)  # type: ignore[call-overload, no-any-return]

    def run(self, *words: str, program: str = "noetl", **options: object) -> subprocess.CompletedProcess[str]:
        """Run a verb as the operator to its end."""
        with self.popen(*words, program=program, **options) as verb:
            out, err = verb.communicate(timeout=110)
            return subprocess.CompletedProcess(words, verb.returncode, out, err)

    def ok(self, *words: str, **options: object) -> str:
        """Run a verb that has to succeed and return what it prints."""
        done = self.run(*words, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """Stop every host and all that was started on them."""
        for host in self.hosts:
            host.stop()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Return the live processes that have this sandbox in their environment, command line or as their folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                known = [process.cwd(), *process.cmdline(), *process.environ().values()]
                if (
                    process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE
                    and any(str(self.folder) in one for one in known)
                ):
                    found.append(process)
        return found


@contextlib.contextmanager
def namespaces(names: list[str]) -> Iterator[Mapping[str, tuple[str, tuple[str, ...]]]]:
    """Make network namespaces on one bridge; give each name its address and the words that run a command inside."""
    bridge = f"nb{os.getpid() % 100000}"
    made: list[str] = []
    links: list[str] = []
    try:
        _quiet("ip", "link", "add", bridge, "type", "bridge")
        _quiet("ip", "addr", "add", f"{NETWORK}.1/24", "dev", bridge)
        _quiet("ip", "link", "set", bridge, "up")
        found = {}
        for number, name in enumerate(names, 2):
            space, here, there = f"{bridge}-{name}", f"{bridge}h{number}", f"{bridge}t{number}"
            _quiet("ip", "netns", "add", space)
            made.append(space)
            _quiet("ip", "link", "add", here, "type", "veth", "peer", "name", there)
            links.append(here)
            _quiet("ip", "link", "set", here, "master", bridge, "up")
            _quiet("ip", "link", "set", there, "netns", space)
            inside = ("ip", "netns", "exec", space)
            _quiet(*inside, "ip", "addr", "add", f"{NETWORK}.{number}/24", "dev", there)
            _quiet(*inside, "ip", "link", "set", there, "up")
            _quiet(*inside, "ip", "link", "set", "lo", "up")
            found[name] = (f"{NETWORK}.{number}", inside)
        yield found
    finally:
        for space in made:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        # A namespace lives on as long as anything is in it: its cable goes in any case.
        for link in [*links, bridge]:
            subprocess.run(["ip", "link", "del", link], check=False, capture_output=True)


def own_address() -> str:
    """Return an address of this machine that is not its loopback's; empty where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.suppress(OSError):
        one.connect(("192.0.2.1", 9))
        return str(one.getsockname()[0])
    return ""


def can_make_namespaces() -> bool:
    """Tell whether this user may make network namespaces here."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"nbtry{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    bridge = subprocess.run(["ip", "link", "add", name[:15], "type", "bridge"], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", name[:15]], check=False, capture_output=True)
    return tried.returncode == 0 and bridge.returncode == 0


def _quiet(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{words}: {done.stderr}"
