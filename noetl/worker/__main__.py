"""Runs a worker: `python -m noetl.worker`."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import signal
import sys
import time
from dataclasses import replace

import uvloop

from noetl import home
from noetl.bus.subjects import POOL
from noetl.errors import NoetlError, UsageError
from noetl.logs import configure
from noetl.rotation import keep_rotated
from noetl.settings import Secret, Settings, read
from noetl.worker.api import Api
from noetl.worker.loop import Worker


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, take the lock, work until a signal comes; return the exit code."""
    try:
        settings = read(os.environ)
        parser = argparse.ArgumentParser(prog="python -m noetl.worker", description="Run a NoETL worker in the foreground.")
        parser.add_argument("--nats-url", help="where the rings are (NATS_URL; by default what the server says)")
        parser.add_argument(
            "--server-url",
            default=settings.server_url or f"http://127.0.0.1:{settings.port}",
            help="the server (NOETL_SERVER_URL, default %(default)s)",
        )
        parser.add_argument("--name", default="worker", help="this worker's name on its host (default %(default)s)")
        parser.add_argument("--pool", default="default", help="the pool whose commands it takes (default %(default)s)")
        parser.add_argument(
            "--max-workers",
            type=int,
            default=settings.max_workers,
            help="how many steps run at once (NOETL_MAX_WORKERS, default %(default)s)",
        )
        given = parser.parse_args(argv)
        for what, text in (("--name", given.name), ("--pool", given.pool)):
            if not re.fullmatch(POOL, text):
                raise UsageError(f"{what} is {text!r}", "use up to 64 letters, digits, - and _")
        if given.max_workers < 1:
            raise UsageError(f"--max-workers is {given.max_workers}", "give at least 1")
        configure(settings.log_format)
        keep_rotated(settings.home / "logs", settings.log_size, settings.log_count)
        nats_url = Secret(given.nats_url) if given.nats_url else settings.nats_url
        return uvloop.run(_work(replace(settings, server_url=given.server_url), given.name, given.pool, given.max_workers, nats_url))
    except NoetlError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


async def _work(settings: Settings, name: str, pool: str, slots: int, nats_url: Secret | None) -> int:
    worker_id = f"{name}:{secrets.token_hex(4)}"
    lock = home.Lock(settings.home / f"worker-{name}.lock")
    note = {"pid": os.getpid(), "name": name, "pool": pool, "slots": slots, "worker_id": worker_id, "started_at": time.time()}
    replaces = lock.acquire(note).get("worker_id", "")
    token = home.token(settings)
    assert settings.server_url is not None
    api = Api(settings.server_url, token, settings.home)
    worker = Worker(settings, api, token, worker_id=worker_id, replaces=replaces, pool=pool, slots=slots, nats_url=nats_url)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
