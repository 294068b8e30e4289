"""What a verb is on a host: which may be, with which environment, by which command."""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import noetl
from noetl.errors import NoetlError, UsageError
from noetl.ops.hosts import Host, HostsFile
from noetl.settings import Settings

NOUNS = ("server", "worker", "db")
ALONE = ("ps", "doctor", "logs")
_NEEDS_SERVER = ("worker.start", "worker.restart", "worker.roll")
_CHANGES = (*_NEEDS_SERVER, "server.start", "server.restart", "db.init", "db.reset")
_DATABASE = ("POSTGRES_", "PLAYBOOKS_POSTGRES_")
_OF_THIS_MACHINE = ("NOETL_HOME", "NOETL_SERVER_URL", "NOETL_API_TOKEN")
_SERVER_ONLY = ("NOETL_HOST", "NOETL_PORT", "NOETL_ENCRYPTION_KEY", "NATS_URL")

# Answers with three lines: the user's home, the command, its version. The last two are missing where there is none.
_PROBE = (
    'h=$HOME; echo "$h"; b={home}; for n in "$b/current/bin/noetl" "$(command -v noetl)" "$h/.local/bin/noetl"; do '
    'if [ -x "$n" ]; then echo "$n"; exec "$n" --version; fi; done'
)


@dataclass(frozen=True)
class Place:
    """What a host has: its user's home folder, the `noetl` command there, and its version; empty where there is none."""

    user_home: str
    command: str = ""
    version: str = ""


def check_verb(verb: str) -> None:
    """Refuse a verb that makes no sense on hosts."""
    noun = verb.partition(".")[0]
    if verb in ALONE or (noun in NOUNS and "." in verb):
        return
    known = ", ".join([*(f"{noun}.*" for noun in NOUNS), *ALONE, "host.*"])
    raise UsageError(f"{verb} makes no sense on hosts: it works on this machine, or asks the server", f"with -H go: {known}")


def server_url(verb: str, settings: Settings, file: HostsFile) -> str:
    """Return the URL at which hosts find the server; a worker's start without one that can be theirs is refused."""
    url = settings.server_url or file.server_url
    needed = verb in _NEEDS_SERVER
    example = "set NOETL_SERVER_URL (or worker: {server_url: …} in hosts.yaml) to an address that the hosts reach, like http://HOST:8082"
    if not url:
        if needed:
            raise UsageError("nothing says where the hosts' workers find the server", example)
        return ""
    if _is_loopback(url):
        if needed:
            raise UsageError(f"{url} is this machine's own address: on a host it would mean that host", example)
        return ""
    return url


def environ(verb: str, environment: Mapping[str, str], token: str, url: str, host: Host) -> dict[str, str]:
    """Return the variables that travel with a verb: the operator's, what only a server needs with its verbs alone, then the host's own."""
    of_server = verb.partition(".")[0] in ("server", "db")
    prefixes = ("NOETL_", *(_DATABASE if of_server else ()))
    left_out = (*_OF_THIS_MACHINE, *(() if of_server else _SERVER_ONLY))
    named = {name.strip() for name in environment.get("NOETL_PLAYBOOK_ENV", "").split(",")}
    found = {name: value for name, value in environment.items() if name not in left_out and (name.startswith(prefixes) or name in named)}
    if of_server and environment.get("NATS_URL"):
        found["NATS_URL"] = environment["NATS_URL"]
    found |= {"NOETL_SERVER_URL": url} if url else {}
    found |= {"NOETL_API_TOKEN": token} if token else {}
    found |= {"NOETL_HOME": host.home} if host.home else {}
    return found | dict(host.env)


def shown(variables: Mapping[str, str]) -> str:
    """Write variables for people: the values that can be secrets as `***`."""
    plain = ("NOETL_SERVER_URL", "NOETL_HOME", "NOETL_HOST", "NOETL_PORT", "NOETL_LOG_FORMAT", "NOETL_MAX_WORKERS")
    return " ".join(f"{name}={value if name in plain else '***'}" for name, value in sorted(variables.items()))


def probe(host: Host) -> str:
    """Return the shell command that finds noetl on a host."""
    home = shlex.quote(host.home) if host.home else '"$h/.noetl"'
    return f"sh -c {shlex.quote(_PROBE.format(home=home))}"


def place(said: str) -> Place:
    """Read what the probe's command printed."""
    lines = said.strip().splitlines()
    if not lines:
        raise NoetlError("it has no shell that answers", "its user needs a POSIX shell")
    if len(lines) < 3:
        return Place(lines[0])
    return Place(lines[0], lines[1], lines[2].removeprefix("noetl ").strip())


def check_place(verb: str, there: Place, host: Host) -> str:
    """Refuse a host without noetl, or to start anything with another version there; return a warning about another version."""
    install = f"install it there: inv -H {host.name} host.install"
    if not there.command:
        raise NoetlError("noetl is not installed there", install)
    if there.version == noetl.__version__:
        return ""
    said = f"noetl is {there.version or 'broken'} there and {noetl.__version__} here"
    if verb in _CHANGES:
        raise NoetlError(f"{said}: nothing was started", install)
    return said


def folder(there: Place, host: Host) -> str:
    """Return the host's NOETL_HOME."""
    return host.home or str(PurePosixPath(there.user_home) / ".noetl")


def command(there: Place, letter: str, words: Sequence[str]) -> str:
    """Return the shell command that runs a verb on a host, with the environment that the file `letter` has."""
    return shlex.join([there.command, "--over-ssh", letter, *words])


def letter(verb: str, variables: Mapping[str, str]) -> str:
    """Return the text that travels to a host as a private file: the environment, and whether to try the server first."""
    return json.dumps({"environ": dict(variables), "reach": verb in _NEEDS_SERVER})


def _is_loopback(url: str) -> bool:
    name = (urlsplit(url).hostname or "").rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
