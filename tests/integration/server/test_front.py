"""What is in front of uvicorn answers as uvicorn does, however requests come."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any

import pytest
from live import Live

Json = Any
PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: front, path: tests/front}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
"""
PAST = "TE: trailers\r\n"
"""A header that is not plain: the same request goes past the front."""
ODD = [
    "Content-Length: 2\r\nContent-Length: 40\r\n",
    "Content-Length: 2\r\nContent-Length: 2\r\n",
    "Content-Length: 2, 2\r\n",
    "Content-Length: 2 2\r\n",
    "Content-Length: +2\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 0x2\r\n",
    "Content-Length: \r\n",
    "Content-Length:\r\n 2\r\n",
    "Content-Length : 2\r\n",
    " Content-Length: 2\r\n",
    "Content-Length: 2\r\n folded\r\n",
    "Content-Length: 2\n",
    "Content-Length: 2\r",
    "Content-Length: 2\x0b\r\n",
    "Content-Length: 18446744073709551618\r\n",
    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity\r\nContent-Length: 2\r\n",
    "Content-Length: 2\r\nX\x00: 1\r\n",
    "Content-Length: 2\r\nX: 1\nY: 2\r\n",
    ": 1\r\nContent-Length: 2\r\n",
]
CLAIM = {"worker_id": "nobody", "pool": "empty", "most": 1}


@contextmanager
def connection(live: Live) -> Iterator[socket.socket]:
    """Connect to the server."""
    host, _, port = live.a_server.url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as made:
        yield made


def request(live: Live, path: str, body: bytes, more: str = "", *, token: str | None = None, length: str | None = None) -> bytes:
    """Return a request's bytes."""
    token = live.token.reveal() if token is None else token
    size = f"Content-Length: {len(body)}\r\n" if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}{size}\r\n".encode() + body


def answers(made: socket.socket, number: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Read so many answers: status, headers (lower-case), body."""
    found: list[tuple[int, dict[str, str], bytes]] = []
    read = b""
    while len(found) < number:
        while b"\r\n\r\n" not in read:
            more = made.recv(65536)
            if not more:
                return found
            read += more
        head, _, read = read.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            while not read.endswith(b"0\r\n\r\n"):
                read += made.recv(65536)
            body = b"".join(re.split(rb"(?:^|\r\n)[0-9a-f]+\r\n", read[: -len(b"0\r\n\r\n")])).rstrip(b"\r\n")
            read = b""
        else:
            size = int(headers.get("content-length", 0))
            while len(read) < size:
                read += made.recv(65536)
            body, read = read[:size], read[size:]
        found.append((int(first.split()[1]), headers, body))
    return found


def ask(live: Live, sent: bytes, *, cuts: list[int] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Send a request's bytes in pieces that end at these places, and return its answer."""
    with connection(live) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = 0
        for cut in [*(cuts or []), len(sent)]:
            if start < cut:
                made.sendall(sent[start:cut])
                start = cut
                time.sleep(0.002 if cuts else 0)
        return answers(made, 1)[0]


def told(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str | None, str | None, Json]:
    """Return what must be the same on both ways: of an execution's id only that there is one."""
    status, headers, body = answer
    document = json.loads(body)
    if "execution_id" in document:
        document["execution_id"] = bool(document["execution_id"])
    return status, headers.get("content-type"), headers.get("www-authenticate"), document


def bodies(live: Live) -> list[tuple[str, bytes]]:
    """Return requests that succeed and that are refused."""
    report = {"execution_id": "1", "command_id": 1, "fence": 1, "status": "done", "size": 2}
    header = {"worker_id": "nobody", "pool": "empty", "free": 0, "held": [], "reports": [report]}
    line = json.dumps(header).encode() + b"\n"
    return [
        ("/api/worker/claim", json.dumps(CLAIM).encode()),
        ("/api/worker/claim", json.dumps(CLAIM, indent=3).encode()),
        ("/api/worker/claim", b""),
        ("/api/worker/claim", b"{"),
        ("/api/worker/claim", b"[]"),
        ("/api/worker/claim", b"\x00\xff\r\n\r\nPOST /api/execute HTTP/1.1\r\n\r\n"),
        ("/api/worker/claim?most=2", json.dumps(CLAIM).encode()),
        ("/api/worker/report", line + b"[]"),
        ("/api/worker/report", line + b"[]]"),
        ("/api/worker/report", line),
        ("/api/execute", b'{"path": "tests/front"}'),
        ("/api/execute", b'{"path": "tests/front", "payload": {"unknown": 1}}'),
        ("/api/execute", b'{"path": "tests/missing"}'),
        ("/api/execute", b'{"path": 7}'),
        ("/api/nothing", b"{}"),
    ]


@pytest.fixture
def alone(make_live: Callable[..., AbstractContextManager[Live]]) -> Iterator[Live]:
    """A server without workers."""
    with make_live() as live:
        live.server()
        live.register(PLAYBOOK)
        yield live


def test_both_ways_answer_the_same_wherever_a_request_is_cut(alone: Live) -> None:
    """Decision 23."""
    chance = random.Random(7)
    seen = set()
    for path, body in bodies(alone):
        whole = request(alone, path, body)
        past = told(ask(alone, request(alone, path, body, PAST)))
        seen.add(past[0])
        for cuts in (None, [1], [len(whole) - len(body) - 1], [len(whole) - 1], sorted(chance.sample(range(len(whole)), 4))):
            assert told(ask(alone, whole, cuts=cuts)) == past, (path, body, cuts)
    assert seen == {200, 400, 404}


def test_every_byte_may_come_by_itself(alone: Live) -> None:
    sent = request(alone, "/api/worker/claim", json.dumps(CLAIM).encode())
    assert told(ask(alone, sent, cuts=list(range(1, len(sent)))))[0] == 200


def test_a_connection_serves_many_requests_of_both_kinds(alone: Live) -> None:
    """One connection goes back and forth; an answer has what its own request asked for."""
    claim = request(alone, "/api/worker/claim", json.dumps(CLAIM).encode())
    missing = request(alone, "/api/execute", b'{"path": "tests/missing"}')
    workers = f"GET /api/workers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alone.token.reveal()}\r\n\r\n".encode()
    with connection(alone) as made:
        found = []
        for sent in (claim, workers, claim, missing, workers, workers, missing, claim):
            made.sendall(sent)
            found += answers(made, 1)
    assert [status for status, _, _ in found] == [200, 200, 200, 404, 200, 200, 404, 200]
    assert [sorted(json.loads(body)) for _, _, body in found] == [
        ["commands"], ["workers"], ["commands"], ["error"], ["workers"], ["workers"], ["error"], ["commands"],
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [None, 40])
def test_requests_that_do_not_wait_for_answers_are_answered_in_their_order(alone: Live, cut: int | None) -> None:
    """Pipelining, of both kinds, the last one cut in two."""
    claim = request(alone, "/api/worker/claim", json.dumps(CLAIM).encode())
    missing = request(alone, "/api/execute", b'{"path": "tests/missing"}')
    past = request(alone, "/api/execute", b'{"path": "tests/missing"}', PAST)
    sent = claim + missing + past + claim + missing
    with connection(alone) as made:
        made.sendall(sent[: -cut if cut else None])
        if cut:
            time.sleep(0.1)
            made.sendall(sent[-cut:])
        assert [status for status, _, _ in answers(made, 5)] == [200, 404, 404, 200, 404]


@pytest.mark.parametrize("more", ["", PAST])
def test_a_length_that_can_be_read_in_two_ways_is_refused_and_ends_the_connection(alone: Live, more: str) -> None:
    """Nothing of what stands in a body is taken for a request: whoever stands in between may have read another length."""
    hidden = request(alone, "/api/execute", b'{"path": "tests/front"}')
    for odd in ODD:
        with connection(alone) as made:
            made.sendall(request(alone, "/api/execute", b"{}" + hidden, more, length=odd))
            assert [status for status, _, _ in answers(made, 2)] == [400], odd
            with suppress(ConnectionResetError):
                assert made.recv(10) == b"", odd
    assert alone.sql("SELECT count(*) AS n FROM noetl.execution") == [{"n": 0}]


@pytest.mark.parametrize("more", ["", PAST])
def test_a_wrong_token_is_refused_and_nothing_is_read(alone: Live, more: str) -> None:
    """X1. The right token on the same connection does not help the wrong one that follows."""
    with connection(alone) as made:
        for token, expected in (("wrong", 401), (alone.token.reveal(), 200), ("wrong", 401), ("", 401)):
            made.sendall(request(alone, "/api/worker/claim", json.dumps(CLAIM).encode(), more, token=token))
            ((status, headers, body),) = answers(made, 1)
            assert status == expected
            if status == 401:
                assert headers["www-authenticate"] == "Bearer"
                assert json.loads(body)["error"]["code"] == "unauthorized"


def test_large_bodies_are_answered_and_too_large_ones_refused(make_live: Callable[..., AbstractContextManager[Live]]) -> None:
    """At, above and far above what the front keeps in memory, and above NOETL_MAX_REQUEST."""
    with make_live() as live:
        live.server({"NOETL_MAX_REQUEST": str(3 * 1024 * 1024)})
        for size, expected in ((1024**2, 200), (1024**2 + 1, 200), (3 * 1024**2, 200), (3 * 1024**2 + 1, 413)):
            text = json.dumps(CLAIM)
            status, _, body = ask(live, request(live, "/api/worker/claim", (text + " " * (size - len(text))).encode()))
            assert status == expected, size
            assert ("commands" if expected == 200 else "error") in json.loads(body)


@pytest.mark.parametrize(("version", "more", "stays"), [("1.1", "", True), ("1.1", "Connection: close\r\n", False), ("1.0", "", False)])
def test_a_connection_ends_where_the_caller_says_so(alone: Live, version: str, more: str, stays: bool) -> None:
    claim = request(alone, "/api/worker/claim", json.dumps(CLAIM).encode(), more).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    with connection(alone) as made:
        made.sendall(claim)
        assert answers(made, 1)[0][0] == 200
        made.sendall(claim)
        try:
            again = answers(made, 1)
        except ConnectionError:
            again = []
        assert len(again) == (1 if stays else 0)


def test_a_body_that_is_to_be_asked_for_is(alone: Live) -> None:
    """`Expect: 100-continue` is uvicorn's."""
    body = json.dumps(CLAIM).encode()
    sent = request(alone, "/api/worker/claim", body, "Expect: 100-continue\r\n")
    with connection(alone) as made:
        made.sendall(sent[: -len(body)])
        assert made.recv(1000).startswith(b"HTTP/1.1 100 ")
        made.sendall(body)
        assert answers(made, 1)[0][0] == 200


def test_a_caller_that_floods_ahead_of_an_answer_is_cut_off(alone: Live) -> None:
    """Memory is bounded: whoever never waits for answers loses the connection."""
    waits = request(alone, "/api/worker/claim", json.dumps({"worker_id": "w", "pool": "empty", "park": 30}).encode())
    claim = request(alone, "/api/worker/claim", json.dumps(CLAIM).encode())
    with connection(alone) as made, pytest.raises(ConnectionError):
        made.sendall(waits)
        for _ in range(100_000):
            made.sendall(claim)


def test_a_caller_that_does_not_read_its_answers_is_cut_off(alone: Live) -> None:
    """Memory is bounded: nothing is answered while what was answered is not read."""
    missing = request(alone, "/api/execute", json.dumps({"path": "tests/" + "x" * 60_000}).encode())
    with connection(alone) as made, pytest.raises(ConnectionError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for _ in range(60):
            # Never so much at once that this alone would be too much.
            made.sendall(missing * 10)
            time.sleep(0.1)


def test_answers_that_are_read_late_all_come(alone: Live) -> None:
    missing = request(alone, "/api/execute", json.dumps({"path": "tests/" + "x" * 60_000}).encode())
    with connection(alone) as made, ThreadPoolExecutor(1) as threads:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for _ in range(10):
            sent = threads.submit(made.sendall, missing * 15)
            time.sleep(0.1)
            assert [(status, len(body) > 60_000) for status, _, body in answers(made, 15)] == [(404, True)] * 15
            sent.result(20)


def test_a_server_that_stops_answers_what_is_under_way(alone: Live) -> None:
    """Idle connections are closed at once; one whose request waits gets its answer first."""
    with connection(alone) as idle, connection(alone) as busy, ThreadPoolExecutor(1) as threads:
        idle.sendall(request(alone, "/api/worker/claim", json.dumps(CLAIM).encode()))
        assert answers(idle, 1)[0][0] == 200
        busy.sendall(request(alone, "/api/worker/claim", json.dumps({"worker_id": "w", "pool": "empty", "park": 30}).encode()))
        answer = threads.submit(answers, busy, 1)
        time.sleep(0.3)
        server = alone.a_server
        server.send(signal.SIGTERM)
        ((status, headers, body),) = answer.result(15)
        assert status == 200
        assert json.loads(body)["commands"] == []
        assert headers.get("connection") == "close"
        assert idle.recv(10) == b""
        assert busy.recv(10) == b""
        alone.until(lambda: not server.alive, "the server has ended")
