from __future__ import annotations

import asyncio
import socket

import uvloop

from noetl.at_once import at_once


def test_what_is_written_is_there_before_the_loop_goes_on() -> None:
    async def written() -> bytes:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            transport, _ = await asyncio.get_running_loop().create_unix_connection(asyncio.Protocol, sock=ours)
            at_once(transport)
            transport.write(b"word")
            try:
                return theirs.recv(10, socket.MSG_DONTWAIT)
            finally:
                transport.close()

    assert uvloop.run(written()) == b"word"
