"""Keeps the leases alive from a thread that nothing else can block."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noetl.settings import Secret

logger = logging.getLogger("noetl.worker")
Json = Any


Heard = Callable[[dict[str, Json], list[list[Json]], float], None]
"""What takes the answer to a heartbeat, the leases that it listed, and when it was sent (monotonic)."""


class Heartbeat:
    """Sends what `describe` returns every so many seconds and hands the answer on; `alive` is touched each time, for whoever looks on."""

    def __init__(
        self,
        url: str,
        token: Secret,
        seconds: float,
        describe: Callable[[], dict[str, Json]],
        heard: Heard,
        alive: Path,
    ) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._headers = {"Authorization": f"Bearer {token.reveal()}", "Content-Type": "application/json"}
        self._seconds = seconds
        self._describe = describe
        self._heard = heard
        self._alive = alive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._alive.touch()
        self._thread.start()

    def stop(self) -> None:
        """Stop it; the last beat may still be under way."""
        self._stop.set()
        self._alive.unlink(missing_ok=True)

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(self._seconds):
            try:
                self._alive.touch()
                connection = connection or self._connect()
                sent = time.monotonic()
                document = self._describe()
                connection.request("POST", f"{self._url.path.rstrip('/')}/api/worker/heartbeat", json.dumps(document), self._headers)
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    self._heard(json.loads(body), document["held"], sent)
                else:
                    logger.warning("the heartbeat was answered %d", response.status)
            except (OSError, http.client.HTTPException, ValueError) as error:
                logger.warning("the heartbeat was not answered: %s", str(error) or type(error).__name__)
                if connection is not None:
                    connection.close()
                connection = None

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.hostname or "localhost", self._url.port, timeout=self._seconds * 2)
