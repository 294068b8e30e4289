"""The only place that imports nats."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import nats
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig

from noetl.bus import subjects
from noetl.errors import Unavailable
from noetl.settings import Secret

logger = logging.getLogger("noetl.bus")
HINT = "noetl's own is started by: noetl up (its log: noetl logs --service nats); another is where NATS_URL says"
UNREACHABLE = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)


class Bus:
    """A connection that comes back by itself, and the stream of rings on it."""

    def __init__(self, url: Secret, name: str) -> None:
        self._url = url
        self._name = name
        self._nats: Any = None
        self._js: Any = None
        self._missed_logged = False
        self._where = url.reveal().rpartition("@")[2].rpartition("//")[2]

    @property
    def opened(self) -> bool:
        """Whether `open` has succeeded; from then on the connection comes back by itself."""
        return self._nats is not None

    @property
    def connected(self) -> bool:
        """Whether the connection is up now."""
        return self._nats is not None and self._nats.is_connected

    async def open(self, *, wait: float = 5) -> None:
        """Connect; raise Unavailable where NATS does not answer."""
        try:
            self._nats = await asyncio.wait_for(
                nats.connect(
                    self._url.reveal(),
                    name=self._name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    connect_timeout=2,
                    error_cb=_quiet,
                    disconnected_cb=_nothing,
                    reconnected_cb=_nothing,
                    closed_cb=_nothing,
                    pending_size=8 * 1024 * 1024,
                ),
                wait,
            )
        except UNREACHABLE as error:
            raise Unavailable(f"NATS at {self._where} does not answer: {str(error) or type(error).__name__}", HINT) from error
        self._js = self._nats.jetstream(timeout=3)

    async def close(self) -> None:
        """Close the connection; what was rung is sent first where that is possible."""
        if self._nats is not None:
            with contextlib.suppress(*UNREACHABLE):
                await asyncio.wait_for(self._nats.flush(1), 1)
            with contextlib.suppress(*UNREACHABLE):
                await asyncio.wait_for(self._nats.close(), 2)

    async def examine(self) -> tuple[str, float]:
        """Return the server's version and the milliseconds of a round trip; raise Unavailable where it has no JetStream for us."""
        best = float("inf")
        try:
            for _ in range(5):
                started = time.perf_counter()
                await self._nats.flush(2)
                best = min(best, time.perf_counter() - started)
            await self._js.account_info()
        except UNREACHABLE as error:
            raise Unavailable(
                f"NATS has no JetStream for this user: {str(error) or type(error).__name__}", "start it with JetStream"
            ) from error
        version = self._nats.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}", round(best * 1000, 2)

    async def ensure_stream(self) -> None:
        """Make the stream if it is not there; raise Unavailable where that fails."""
        config = StreamConfig(
            name=subjects.STREAM,
            subjects=[f"{subjects.PREFIX}.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            max_msgs=1_000_000,
            max_age=3600,
        )
        try:
            await self._js.add_stream(config)
        except UNREACHABLE as error:
            raise Unavailable(f"the stream {subjects.STREAM} cannot be made: {error}", "see: noetl logs --service nats") from error

    async def delete_stream(self) -> None:
        """Delete the stream with every ring in it; raise Unavailable where that fails."""
        try:
            await self._js.delete_stream(subjects.STREAM)
        except UNREACHABLE as error:
            raise Unavailable(f"the stream {subjects.STREAM} cannot be deleted: {error}", "see: noetl logs --service nats") from error

    async def ring(self, commands: Iterable[tuple[str, int, int]]) -> None:
        """Ring for commands (pool, execution, command); a ring that is lost is made good by the sweep."""
        if self._nats is None or not self._nats.is_connected:
            return
        try:
            for pool, execution_id, command_id in commands:
                await self._nats.publish(subjects.commands(pool), subjects.encode(execution_id, command_id))
        except UNREACHABLE as error:
            logger.warning("a ring was lost: %s", error)

    async def tell(self, subject: str, body: bytes) -> None:
        """Publish a message that nobody has to get."""
        if self._nats is not None and self._nats.is_connected:
            with contextlib.suppress(*UNREACHABLE):
                await self._nats.publish(subject, body)

    async def listen(self, subject: str, handle: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand each message of a subject to a function."""

        async def receive(message: Any) -> None:
            await handle(message.data)

        with contextlib.suppress(*UNREACHABLE):
            await self._nats.subscribe(subject, cb=receive)

    async def waiting(self, pool: str) -> int | None:
        """Return how many rings of a pool nobody has taken yet; None where that cannot be known."""
        try:
            info = await self._js.consumer_info(subjects.STREAM, subjects.consumer(pool))
        except UNREACHABLE:
            return None
        return int(info.num_pending) + int(info.num_ack_pending)

    async def rings(self, pool: str) -> Rings:
        """Return the rings of a pool, shared with its other workers."""
        await self.ensure_stream()
        config = ConsumerConfig(
            durable_name=subjects.consumer(pool),
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=10,
            max_ack_pending=100_000,
            filter_subject=subjects.commands(pool),
        )
        try:
            await self._js.add_consumer(subjects.STREAM, config)
            bind = partial(self._js.pull_subscribe_bind, subjects.consumer(pool), subjects.STREAM)
            return Rings(bind, await bind())
        except UNREACHABLE as error:
            raise Unavailable(f"the rings of pool {pool} cannot be heard: {error}", "see: noetl logs --service nats") from error


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring: (execution, command), or None for a message that is not ours."""

    command: tuple[int, int] | None
    message: Any


class Rings:
    """The rings of one pool, taken by pull.

    After a wait without a ring the subscription is another one: NATS tells the old one, maybe late, that its wait is over, and a fetch
    that reads this takes it for its own, and then waits for all the rings that it may take instead of for the first.
    """

    def __init__(self, bind: Callable[[], Awaitable[Any]], subscription: Any) -> None:
        self._bind = bind
        self._subscription = subscription

    async def take(self, most: int, wait: float) -> list[Ring]:
        """Take up to so many rings, waiting for the first; empty after the wait. Raises Unavailable where NATS or the consumer is gone."""
        try:
            if self._subscription is None:
                self._subscription = await self._bind()
            messages = await self._subscription.fetch(most, timeout=wait)
        except TimeoutError:
            await self.close()
            return []
        except asyncio.CancelledError:
            await self.close()
            raise
        except UNREACHABLE as error:
            raise Unavailable(f"NATS is away: {str(error) or type(error).__name__}") from error
        return [Ring(subjects.decode(message.data), message) for message in messages]

    async def answered(self, rings: Iterable[Ring]) -> None:
        """Acknowledge rings: their commands are claimed, or need nobody any more."""
        with contextlib.suppress(*UNREACHABLE):
            for ring in rings:
                await ring.message.ack()

    async def close(self) -> None:
        """Stop hearing, until the next take."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(*UNREACHABLE):
                await subscription.unsubscribe()


async def _quiet(error: Exception) -> None:
    logger.debug("NATS: %s", error)


async def _nothing() -> None:
    return None
