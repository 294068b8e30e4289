"""Connections to hosts, through Fabric: ssh_config honoured, host keys checked, errors in words."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import paramiko
from fabric import Config, Connection
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.ssh_exception import BadHostKeyException, NoValidConnectionsError, SSHException

from noetl.errors import NoetlError, Unavailable
from noetl.ops import ssh_config
from noetl.ops.hosts import Host

CONNECT_TIMEOUT = 10
_ALIVE_INTERVAL, _ALIVE_COUNT = 10, 3
_known_hosts_lock = threading.Lock()


class Output(Protocol):
    """Where a command's text goes."""

    def write(self, text: str, /) -> Any:
        """Take text in."""

    def flush(self) -> Any:
        """Show it."""


class UnknownHost(NoetlError):
    """A host whose key nobody has accepted yet."""

    code = "unknown_host"


class Remote:
    """An open connection to one host: run commands, write and remove files."""

    def __init__(self, host: Host, connection: Any) -> None:
        self.host = host
        self._connection = connection

    def run(self, command: str, output: Output | None = None, errors: Output | None = None) -> tuple[int, str, str]:
        """Run a shell command to its end and return its exit code and what it printed; a broken connection raises Unavailable.

        Its standard input stays open as long as this connection.
        """
        with self._broken():
            streams = {"out_stream": output, "err_stream": errors}
            hide = None if output or errors else True
            done = self._connection.run(
                command, warn=True, hide=hide, in_stream=False, encoding="utf-8", pty=False, dry=False, echo=False, **streams
            )
        if done.exited < 0:
            raise self._lost()
        return int(done.exited), str(done.stdout), str(done.stderr)

    def write_private(self, folder: str, text: str) -> str:
        """Write a file that only its user may read, under a name of its own in a folder, and return its path."""
        path = f"{folder}/{secrets.token_hex(8)}"
        with self._broken(), self._files(folder) as sftp:
            file = sftp.open(path, "wx")
            try:
                file.chmod(0o600)
                file.write(text.encode())
                file.close()
            except OSError as error:
                raise self._unwritten(sftp, path, error) from error
        return path

    def upload(self, source: Path, target: str) -> None:
        """Copy a file to a host, whole or not at all."""
        with self._broken(), self._files(os.path.dirname(target)) as sftp:  # noqa: PTH120 - a path of the host
            partial = f"{target}.{secrets.token_hex(4)}"
            try:
                sftp.put(str(source), partial)
                sftp.posix_rename(partial, target)
            except OSError as error:
                raise self._unwritten(sftp, partial, error) from error

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes of a folder's files, by name; none where there is no such folder."""
        with self._broken(), self._files(folder) as sftp:
            return {entry.filename: int(entry.st_size or 0) for entry in sftp.listdir_attr(folder)}

    def remove(self, path: str) -> None:
        """Remove a file if it is there and the connection still stands."""
        with contextlib.suppress(OSError, EOFError, SSHException, NoetlError):
            if self._connection.is_connected:
                self._connection.sftp().remove(path)

    def close(self) -> None:
        """Hang up, jump hosts last."""
        connection = self._connection
        while connection is not None and not isinstance(connection, str):
            with contextlib.suppress(Exception):
                connection.close()
            # Fabric closes only what it knows to be up; half-open ones are the client's.
            with contextlib.suppress(Exception):
                connection.client.close()
            connection = connection.gateway or None

    @contextlib.contextmanager
    def _files(self, folder: str) -> Iterator[Any]:
        sftp = self._connection.sftp()
        made = ""
        for part in folder.strip("/").split("/"):
            made += f"/{part}"
            with contextlib.suppress(OSError):
                sftp.stat(made)
                continue
            with contextlib.suppress(OSError):
                sftp.mkdir(made, 0o700)
        try:
            yield sftp
        except OSError as error:
            raise self._unwritten(sftp, f"{folder}/", error) from error

    def _unwritten(self, sftp: Any, path: str, error: OSError) -> Exception:
        """Return what a failed write means, and take away what it left."""
        if isinstance(error, ConnectionError | TimeoutError):
            return error
        folder = path.rpartition("/")[0]
        why = self._why(folder, error)  # before the room that it took is free again
        with contextlib.suppress(OSError):
            sftp.remove(path)
        return NoetlError(f"cannot write in {folder}: {why}", "make room there, and run it again")

    def _why(self, folder: str, error: OSError) -> str:
        # SFTP says no more than «Failure» of a full disk.
        done = self._connection.run(f"df -Pk {shlex.quote(folder)} | tail -n 1", hide=True, warn=True, in_stream=False)
        fields = done.stdout.split()
        if len(fields) >= 6 and fields[3].isdecimal() and int(fields[3]) < 64:
            return f"its disk is full ({fields[5]})"
        return str(error)

    @contextlib.contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except NoetlError:
            raise
        except (EOFError, SSHException, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> NoetlError:
        return Unavailable("the connection broke while it ran", f"see what runs there: inv -H {self.host.name} ps")


class KeyCheck(paramiko.MissingHostKeyPolicy):
    """Refuses a host whose key is not known, or takes it and writes it down."""

    def __init__(self, again: str, known: Path, accept: bool) -> None:
        self._again, self._known, self._accept = again, known, accept

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Decide about a key that no file of known hosts has."""
        if not self._accept:
            message = f"the key of {hostname} is not known: {key.get_name()} {key.fingerprint}"
            raise UnknownHost(message, f"if that is its key: {self._again}")
        with _known_hosts_lock:
            self._known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._known.open("a") as file:
                file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def open_(host: Host, verb: str, *, accept_new: bool) -> Remote:
    """Connect to a host; whatever prevents it is raised as a NoetlError that says what to type."""
    connection = describe(host)
    remote = Remote(host, connection)
    try:
        with _translated(connection, host):
            _prepare(connection, f"inv --accept-new -H {host.name} {verb}", accept_new)
            connection.open()
            _keep_alive(connection)
    except BaseException:
        remote.close()
        raise
    return remote


def describe(host: Host) -> Any:
    """Return Fabric's connection to a host, not opened: where it leads by ssh_config."""
    config = Config(ssh_config=paramiko.SSHConfig.from_text(ssh_config.text()), overrides={"run": {"dry": False}})
    try:
        connection = Connection(host.name, config=config)
    except ValueError as error:
        raise NoetlError(f"{host.name!r} is no host: {error}", "-H user@name:2222; or see its lines in ~/.ssh/config") from error
    if connection.ssh_config.get("proxyjump", "").lower() == "none":
        connection.gateway = None
    if connection.connect_timeout is None:
        connection.connect_timeout = CONNECT_TIMEOUT
    return connection


def route(connection: Any) -> str:
    """Write where a connection leads, and over which hosts."""
    where = f"{connection.user}@{connection.host}:{connection.port}"
    gateway = connection.gateway
    if not gateway:
        return where
    return f"{where} via {gateway if isinstance(gateway, str) else route(gateway)}"


def _prepare(connection: Any, again: str, accept_new: bool) -> None:
    """Check the keys of a host and of those on the way to it; bound every wait; offer the right identities."""
    while connection and not isinstance(connection, str):
        options = connection.ssh_config
        files = options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
        known = [Path(name).expanduser() for name in files]
        for path in (*known, Path("/etc/ssh/ssh_known_hosts")):
            for entry in _known_keys(path):
                for name in entry.hostnames:
                    connection.client.get_host_keys().add(name, entry.key.get_name(), entry.key)
        connection.client.set_missing_host_key_policy(KeyCheck(again, known[0], accept_new))
        if connection.connect_timeout is None:
            connection.connect_timeout = CONNECT_TIMEOUT
        identities = [path for path in connection.connect_kwargs.get("key_filename", []) if Path(path).expanduser().is_file()]
        only = options.get("identitiesonly", "no").lower() == "yes"
        connection.connect_kwargs = {
            "key_filename": identities,
            "banner_timeout": connection.connect_timeout,
            "auth_timeout": max(connection.connect_timeout, CONNECT_TIMEOUT),
            **({"allow_agent": False, "look_for_keys": False} if only else {}),
        }
        connection = connection.gateway


def _known_keys(path: Path) -> Iterator[HostKeyEntry]:
    """Yield the entries of a file of known hosts; Paramiko itself gives a whole file up for one line like @cert-authority."""
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        if line.strip() and line.strip()[0] not in "#@":
            with contextlib.suppress(SSHException, InvalidHostKey):
                entry = HostKeyEntry.from_line(line.strip())
                if entry is not None:
                    yield entry


def _keep_alive(connection: Any) -> None:
    """Notice within a bound that the other side is gone without a word (ServerAliveInterval times ServerAliveCountMax)."""
    while connection and not isinstance(connection, str):
        interval = int(connection.ssh_config.get("serveraliveinterval", 0)) or _ALIVE_INTERVAL
        count = int(connection.ssh_config.get("serveralivecountmax", _ALIVE_COUNT))
        connection.transport.set_keepalive(interval)
        if isinstance(connection.transport.sock, socket.socket):
            connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * interval * max(1, count))
        connection = connection.gateway


@contextlib.contextmanager
def _translated(connection: Any, host: Host) -> Iterator[None]:
    where = route(connection)
    try:
        yield
    except NoetlError:
        raise
    except BadHostKeyException as error:
        name = error.hostname if int(connection.port) == 22 else f"[{error.hostname}]:{connection.port}"
        message = f"the key of {name} is another than the known one: {error.key.get_name()} {error.key.fingerprint}"
        raise NoetlError(message, f"somebody may be in between; if it was made anew: ssh-keygen -R '{name}'") from error
    except paramiko.AuthenticationException as error:
        raise NoetlError(f"{where} takes none of this user's keys", f"try: ssh {_typed(connection, host)}") from error
    except TimeoutError as error:
        message = f"{where} did not answer in {connection.connect_timeout} s"
        raise Unavailable(message, "is it up? ConnectTimeout in ~/.ssh/config waits longer") from error
    except NoValidConnectionsError as error:
        refused = next(iter(error.errors.values()))
        raise Unavailable(f"cannot connect to {where}: {getattr(refused, 'strerror', '') or refused}", "is it up, with an sshd?") from error
    except (SSHException, OSError, EOFError) as error:
        if isinstance(error, SSHException) and ("authentication" in str(error).lower() or "encrypted" in str(error).lower()):
            raise NoetlError(f"{where} takes none of this user's keys: {error}", f"try: ssh {_typed(connection, host)}") from error
        reason = str(error) or type(error).__name__
        raise Unavailable(f"cannot connect to {where}: {reason}", f"try: ssh {_typed(connection, host)}") from error


def _typed(connection: Any, host: Host) -> str:
    name = host.name.rpartition("@")[2].rpartition(":")[0] or host.name.rpartition("@")[2]
    typed = f"{connection.user}@{name}"
    return typed if int(connection.port) == 22 else f"-p {connection.port} {typed}"
