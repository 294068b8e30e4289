"""Clients that ask a server at a steady pace and write down each request that fails: nobody tries twice here."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds for an answer: a busy machine is slow, and that is no failure."""


@dataclass
class Clients:
    """Clients of both kinds: those that keep their connection as long as the server does, and those that open one for each request."""

    url: str
    token: str
    a_second: float = 20.0
    each: int = 4
    path: str = "/api/executions?limit=1"
    answered: dict[str, int] = field(default_factory=lambda: {"kept": 0, "new": 0})
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(kind, number), daemon=True) for kind in self.answered for number in range(self.each)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ask no more, and wait for the last answers."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)

    def wait_for_answers(self, more: int) -> None:
        """Return when so many more requests of each kind have been answered, or some have failed."""
        wanted = {kind: count + more for kind, count in self.answered.items()}
        deadline = time.monotonic() + 2 * PATIENCE
        while any(self.answered[kind] < count for kind, count in wanted.items()) and not self.failed:
            assert time.monotonic() < deadline, f"no answers: {self.answered}"
            time.sleep(0.05)

    def _ask_on(self, kind: str, number: int) -> None:
        place = urlsplit(self.url)
        apart = self.each / self.a_second
        due = time.monotonic() + apart * number / self.each
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + apart, time.monotonic())
            began = datetime.now(UTC)
            if kind == "new":
                connection.close()
            fresh = connection.sock is None
            try:
                connection.request("GET", self.path, headers={"authorization": f"Bearer {self.token}"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise http.client.HTTPException(f"{answer.status} {body[:200]!r}")
                self.answered[kind] += 1
            except (OSError, http.client.HTTPException) as error:
                took = (datetime.now(UTC) - began).total_seconds()
                on = "a new" if fresh else "a kept"
                self.failed.append(f"{began:%H:%M:%S.%f} on {on} connection, after {took:.3f} s: {type(error).__name__}: {error}")
                connection.close()
        connection.close()
