"""TCP ports of this machine: whether one is free, and who holds it."""

from __future__ import annotations

import socket

import psutil

from noetl.settings import LAST_PORT


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def refusal(host: str, port: int) -> str:
    """Say why a server cannot listen there, as far as it is not that the port is taken; empty where it could."""
    if not 0 < port <= LAST_PORT:
        return f"{port} is no port"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return f"{host} is no address of this machine ({error.strerror})"
    return ""


def free(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def next_free(host: str, port: int) -> int:
    """Return the nearest port above this one that a server could listen on."""
    return next((above for above in range(port + 1, min(port + 100, LAST_PORT)) if is_free(host, above)), 0) or free()


def reuse(recorded: int | None, host: str = "127.0.0.1") -> int:
    """Return the port that was used before if it is free, another one otherwise."""
    return recorded if recorded and is_free(host, recorded) else free(host)


def holder(port: int) -> str:
    """Say who listens on a port, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return "a process of another user"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                command = " ".join(psutil.Process(connection.pid).cmdline())[:100]
            except psutil.Error:
                command = "?"
            return f"pid {connection.pid} ({command})"
    return "a process of another user"
