"""Follow an execution to its end: woken by its event stream, told by its steps, through restarts of the server."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from noetl.errors import NoetlError, Unavailable
from noetl.ops.client import Client

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
PATIENCE = 60.0
_NOT_OFTENER = 0.1
_AT_LEAST_EVERY = 2.0
_SHARE = 9


@dataclass(frozen=True)
class Snapshot:
    """An execution as the server last told it, and for how many seconds the server has not answered."""

    document: dict[str, Any]
    silent: float = 0.0

    @property
    def status(self) -> str:
        """The execution's status."""
        return str(self.document.get("status", "RUNNING"))

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps that have begun, with their states."""
        return list(self.document.get("steps") or [])


def follow(client: Client, execution_id: str, patience: float = PATIENCE) -> Iterator[Snapshot]:
    """Yield a snapshot whenever the execution changed, the last one terminal; a server that goes away has `patience` seconds."""
    bell: queue.SimpleQueue[None] = queue.SimpleQueue()
    done = threading.Event()
    thread = threading.Thread(target=_listen, args=(client, execution_id, bell, done), daemon=True)
    thread.start()
    last: dict[str, Any] = {}
    silent_since: float | None = None
    try:
        while True:
            begun = time.monotonic()
            try:
                document = client.get(f"/api/executions/{execution_id}/steps")
            except Unavailable as error:
                silent_since = begun if silent_since is None else silent_since
                if begun - silent_since > patience:
                    raise Unavailable(
                        f"the server at {client.url} has been away for {patience:g} s; execution {execution_id} goes on without it",
                        f"start it, then: noetl execution follow {execution_id}",
                    ) from error
                yield Snapshot(last, max(begun - silent_since, 0.001))
                time.sleep(0.3)
                continue
            if silent_since is not None or document != last:
                yield Snapshot(document)
            silent_since, last = None, document
            if str(document["status"]) in TERMINAL:
                return
            # Whoever looks is to cost the execution little, however many steps there are to tell.
            time.sleep(min(max(_NOT_OFTENER, _SHARE * (time.monotonic() - begun)), _AT_LEAST_EVERY))
            _wait(bell)
    finally:
        done.set()


def result(client: Client, execution_id: str) -> dict[str, Any]:
    """Return how an execution ended: id, path, status, result of its last step, error."""
    return dict(client.get(f"/api/executions/{execution_id}/status"))


def _wait(bell: queue.SimpleQueue[None]) -> None:
    with contextlib.suppress(queue.Empty):
        bell.get(timeout=_AT_LEAST_EVERY)
        while True:
            bell.get_nowait()


def _listen(client: Client, execution_id: str, bell: queue.SimpleQueue[None], done: threading.Event) -> None:
    after: str | None = None
    pause = 0.1
    while not done.is_set():
        with contextlib.suppress(NoetlError):
            for message in client.stream(f"/api/executions/{execution_id}/stream", after=after):
                after, pause = message.id or after, 0.1
                bell.put(None)
                if message.event == "end" or done.is_set():
                    return
        done.wait(pause)
        pause = min(2 * pause, 1.0)
