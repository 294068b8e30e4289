"""Workers come to the server of their home by a socket in it, and over TCP where that cannot be."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import psutil
import pytest
from breakable import CHAIN, MakeLive
from live import Live, Running

from noetl.home import server_socket


def comers(server: Running, path: Path) -> int:
    """Return how many connections a server has by its socket."""
    held = psutil.Process(server.pid).net_connections("unix")
    return max(0, sum(one.laddr == str(path) for one in held) - 1)


def socket_of(live: Live, server: Running) -> Path:
    """Return where a server's socket is to be."""
    path = server_socket(live.home, "127.0.0.1", int(server.url.rpartition(":")[2]))
    assert path is not None
    return path


def test_a_worker_comes_by_the_socket_which_needs_the_token_too(make_live: MakeLive) -> None:
    with make_live() as one:
        server, path = one.server(), None
        one.worker()
        path = socket_of(one, server)
        assert one.run(CHAIN)["status"] == "COMPLETED"
        assert comers(server, path) >= 2, "one connection waits, one reports"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as here:
            here.connect(str(path))
            here.sendall(b"POST /api/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert b" 401 " in here.recv(100)
        assert server.terminate() == 0
        assert not path.exists()


def test_what_a_killed_server_leaves_is_in_nobodys_way(make_live: MakeLive) -> None:
    with make_live() as one:
        server = one.server()
        one.worker()
        path = socket_of(one, server)
        server.kill()
        assert path.exists()
        server = one.server(port=int(server.url.rpartition(":")[2]))
        assert one.run(CHAIN)["status"] == "COMPLETED"
        one.until(lambda: comers(server, path) >= 2, "the worker comes by the new server's socket")


def test_a_worker_comes_over_tcp_where_nobody_listens_at_the_socket(make_live: MakeLive) -> None:
    with make_live() as one:
        server = one.server()
        path = socket_of(one, server)
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(str(path))
        one.worker()
        assert one.run(CHAIN)["status"] == "COMPLETED"
        assert comers(server, path) == 0


def test_a_home_that_no_socket_fits_into_is_as_good_as_any(make_live: MakeLive) -> None:
    with make_live() as one:
        one.home /= "long" * 30
        server = one.server()
        one.worker()
        assert "there can be no socket" in server.said()
        assert one.run(CHAIN)["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("host", "there"),
    [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", True), ("::1", True), ("10.0.0.5", False), ("db.example", False), (None, False)],
)
def test_only_where_a_port_is_one_servers_the_socket_stands_for_it(host: str | None, there: bool) -> None:
    """A tunnel to another machine may have the same port at another address."""
    assert server_socket(Path("/home"), host, 8082) == (Path("/home/server-8082.sock") if there else None)
