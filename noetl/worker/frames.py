"""The frames between a worker and its children: five bytes (kind, length), then the payload."""

from __future__ import annotations

import socket
import struct

HEADER = struct.Struct("!BI")

JOB = 1
"""Worker to child: a job as JSON."""
ANSWER = 2
"""Worker to child: `{"value": …}` or `{"error": …}` to the last FETCH."""
FETCH = 3
"""Child to worker: `[kind, name]`."""
LIMIT = 4
"""Child to worker: the step's own time limit in seconds, once it is rendered."""
OUTPUT = 5
"""Child to worker: what the step printed."""
DONE = 6
"""Child to worker: the result's JSON text."""
FAILED = 7
"""Child to worker: four bytes with the length of the error's JSON, the error, the result's JSON text if there is one."""
LEAVING = 8
"""Child to worker, ahead of DONE or FAILED: no further job, please; this process ends after this one."""

STORED = 9
"""Child to worker, in place of DONE: the result's JSON text is in the call's result file; its length as text."""

AHEAD = 10
"""Worker to child: a job as JSON that is perhaps to be run: GO or DROP follows."""
GO = 11
"""Worker to child: run what was sent ahead; the moment from which it has to ask for its lease first, as JSON."""
DROP = 12
"""Worker to child: do not run what was sent ahead."""
DROPPED = 13
"""Child to worker: nothing is left of what was sent ahead; another job can come."""

ERROR_LENGTH = struct.Struct("!I")
_CHUNK = 64 * 1024
"""Below the size from which malloc maps and unmaps memory for each block."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return one frame."""
    return HEADER.pack(kind, len(payload)) + payload


def failed(error: bytes, result: bytes | None) -> bytes:
    """Return the payload of a FAILED frame."""
    return ERROR_LENGTH.pack(len(error)) + error + (result or b"")


def read_failed(payload: bytes) -> tuple[bytes, bytes | None]:
    """Return the error's and the result's JSON text of a FAILED frame."""
    (length,) = ERROR_LENGTH.unpack_from(payload)
    end = ERROR_LENGTH.size + length
    return payload[ERROR_LENGTH.size : end], payload[end:] or None


class Decoder:
    """Cuts a stream of bytes into frames; a frame above `limit` bytes raises ValueError."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = HEADER.size

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that these bytes complete."""
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return []
        buffer = data if len(self._parts) == 1 else b"".join(self._parts)
        frames, offset = [], 0
        while True:
            if len(buffer) - offset < HEADER.size:
                self._needed = HEADER.size
                break
            kind, length = HEADER.unpack_from(buffer, offset)
            if length > self._limit:
                raise ValueError(f"a frame of {length} bytes")
            end = offset + HEADER.size + length
            if end > len(buffer):
                self._needed = HEADER.size + length
                break
            frames.append((kind, buffer[offset + HEADER.size : end]))
            offset = end
        rest = buffer[offset:]
        self._parts, self._size = ([rest], len(rest)) if rest else ([], 0)
        return frames


class Channel:
    """A child's blocking end."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._decoder = Decoder(2**32)
        self._ready: list[tuple[int, bytes]] = []

    def receive(self) -> tuple[int, bytes] | None:
        """Return the next frame; None once the worker has gone."""
        while not self._ready:
            data = self._socket.recv(_CHUNK)
            if not data:
                return None
            self._ready = self._decoder.feed(data)
        return self._ready.pop(0)

    def send(self, data: bytes) -> None:
        """Send frames that are already packed."""
        self._socket.sendall(data)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
