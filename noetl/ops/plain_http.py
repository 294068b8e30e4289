"""A GET over plain HTTP (RFC 9112) on a bare socket: `http.client` takes longer to import than a quick verb to answer."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import SplitResult

_LINE = 65536


class InPartsError(Exception):
    """The answer comes in parts (`transfer-encoding`): somebody between, or the server, does not know how long it will be."""


def get(server: SplitResult, target: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
    """Return the status and the body of an answer; one that is no HTTP, or not whole, raises ConnectionError; one in parts InPartsError."""
    given = {"Host": server.netloc.rpartition("@")[2], **headers}
    # Version 1.0 asks for an answer that ends with its connection: no chunks, nothing kept open.
    asked = [f"GET {target} HTTP/1.0", *(f"{name}: {value}" for name, value in given.items())]
    with socket.create_connection((server.hostname or "", server.port or 80), timeout) as connection:
        connection.sendall(("\r\n".join(asked) + "\r\n\r\n").encode("latin-1"))
        with connection.makefile("rb") as answer:
            return _read(answer)


def _read(answer: BinaryIO) -> tuple[int, bytes]:
    words = answer.readline(_LINE).split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionError("the answer is no HTTP")
    length = None
    while line := answer.readline(_LINE).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value) if value.strip().isdigit() else None
        elif name.lower() == b"transfer-encoding":
            raise InPartsError("the answer comes in parts")
    body = answer.read() if length is None else answer.read(length)
    if length is not None and len(body) < length:
        raise ConnectionError(f"the answer ended after {len(body)} of {length} bytes")
    return int(words[1]), body
