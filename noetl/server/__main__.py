"""Runs the server: `python -m noetl.server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvicorn
import uvloop

from noetl import __version__, home
from noetl.errors import NoetlError
from noetl.logs import configure
from noetl.rotation import keep_rotated
from noetl.server.app import create_app
from noetl.server.front import Front
from noetl.server.runtime import Runtime
from noetl.settings import Settings, read
from noetl.store import migrate

logger = logging.getLogger("noetl.server")
STOP_SECONDS = 6


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, take the lock, serve until a signal comes; return the exit code."""
    settings = read(os.environ)
    parser = argparse.ArgumentParser(prog="python -m noetl.server", description="Run the NoETL server in the foreground.")
    parser.add_argument("--host", default=settings.host, help="address to listen on (NOETL_HOST, default %(default)s)")
    parser.add_argument("--port", type=int, default=settings.port, help="port to listen on (NOETL_PORT, default %(default)s)")
    parser.add_argument("--init-db", action="store_true", help="make or update the database's schema first")
    given = parser.parse_args(argv)
    settings = replace(settings, host=given.host, port=given.port)
    configure(settings.log_format)
    keep_rotated(settings.home / "logs", settings.log_size, settings.log_count)
    try:
        return uvloop.run(_serve(settings, given.init_db))
    except NoetlError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


async def _serve(settings: Settings, init_db: bool) -> int:
    lock = home.Lock(settings.home / f"server-{settings.port}.lock")
    lock.acquire({"pid": os.getpid(), "port": settings.port, "host": settings.host, "started_at": time.time()})
    runtime = _wire(settings)
    if init_db:
        await migrate.initialize(runtime.postgres)
    try:
        await runtime.open()
        _collect_rarely()
        config = uvicorn.Config(
            create_app(runtime),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            http=Front,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=75,
            backlog=2048,
        )
        return await _run(_Server(config, home.server_socket(settings.home, settings.host, settings.port)), runtime)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runtime.close(), STOP_SECONDS)


def _collect_rarely() -> None:
    """Leave what every server has in memory out of garbage collections, and have fewer of them: what a step leaves is freed by itself."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _wire(settings: Settings) -> Runtime:
    embedded = home.read_embedded(settings.home)
    postgres = settings.postgres or embedded.postgres
    if postgres is None:
        raise NoetlError("no database is known", "set POSTGRES_HOST, or start the embedded one: noetl up", code="no_database")
    if settings.postgres is None:
        postgres = replace(postgres, sockets=str(settings.home / "postgres"))
    playbooks = settings.playbooks or (embedded.playbooks if settings.postgres is None else None)
    return Runtime(settings, postgres, playbooks, settings.nats_url or embedded.nats_url, home.token(settings))


class _Server(uvicorn.Server):
    """Listens at a socket of its home too. Leaves the signals to us: event streams have to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, here: Path | None) -> None:
        super().__init__(config)
        self._here = here

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            if self._here is not None:
                await self._listen_here(self._here)
            logger.info("noetl %s is ready at http://%s:%d (pid %d)", __version__, self.config.host, self.config.port, os.getpid())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no longer."""
        if self._here is not None:
            self._here.unlink(missing_ok=True)
        await super().shutdown(sockets)

    async def _listen_here(self, path: Path) -> None:
        """Listen where workers of this home come; the lock says that nobody else does. Where there can be no socket, they come over TCP."""
        try:
            here = _bound(path)
        except OSError as error:
            logger.info("workers of this home come over TCP: there can be no socket %s: %s", path, error)
            return
        loop = asyncio.get_running_loop()
        listening = await loop.create_unix_server(
            lambda: Front(self.config, self.server_state, self.lifespan.state, loop), sock=here, backlog=self.config.backlog
        )
        self.servers.append(listening)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _bound(path: Path) -> socket.socket:
    """Return a socket that is bound to a file by which only this user can come."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound


async def _run(server: uvicorn.Server, runtime: Runtime) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        logger.info("the server stops")
        runtime.leaving.begin()
        runtime.stopping.set()
        runtime.listeners.close()
        runtime.parked.close()
        server.should_exit = True

    def leave() -> None:
        if runtime.leaving.begun:
            stop()
            return
        runtime.leaving.begin()
        if runtime.settings.leave_seconds:
            logger.info("the server stops once nobody has come for %g s", runtime.settings.leave_seconds)
        look()

    def look() -> None:
        if left := runtime.leaving.left():
            loop.call_later(left, look)
        else:
            stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    await server.serve()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
