from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from noetl.errors import Unavailable
from noetl.ops import plain_http
from noetl.ops.client import Client
from noetl.settings import Secret


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer each request with its bytes, on a connection of its own; yields the URL, and what was asked once that is known."""
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for answer in answers:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        thread.join()


def test_what_is_asked_and_what_comes_back() -> None:
    with answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\nX: y\r\n\r\nabcd") as (url, asked):
        assert plain_http.get(urlsplit(url), "/a?b=c", {"Accept": "text/plain"}, 10) == (404, b"abc")
    assert asked == [f"GET /a?b=c HTTP/1.0\r\nHost: {url[7:]}\r\nAccept: text/plain\r\n\r\n".encode()]


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\nall of it") as (url, _):
        assert plain_http.get(urlsplit(url), "/", {}, 10) == (200, b"all of it")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "no HTTP"),
        (b"220 mail.example ESMTP\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "3 of 10 bytes"),
    ],
)
def test_an_answer_that_is_not_whole(answer: bytes, said: str) -> None:
    with answering(answer) as (url, _), pytest.raises(Unavailable, match=said):
        Client(url, Secret("secret"), timeout=10).get("/health")


def test_an_answer_in_parts_is_asked_for_again_by_the_library() -> None:
    parts = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'
    with answering(parts, parts) as (url, asked):
        assert Client(url, Secret("secret"), timeout=10).get("/stored/1") == {"a": 1}
    assert [one.split(b"\r\n")[0] for one in asked] == [b"GET /stored/1 HTTP/1.0", b"GET /stored/1 HTTP/1.1"]


def test_the_token_travels_where_there_is_one() -> None:
    for token in ("secret", ""):
        with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as (url, asked):
            assert Client(url, Secret(token), timeout=10).get("/health") == {}
        assert (b"Authorization: Bearer secret\r\n" in asked[0]) == bool(token)
