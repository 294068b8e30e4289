"""What a worker holds: commands taken and not begun, running, and finished but not yet reported; and how many more it would take."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from noetl.record import record
from noetl.worker.job import Job, Key, Outcome

Json = Any
SHORT = 0.02
"""Seconds. Steps that take less on average are taken ahead of free slots, so that their batches are larger."""
AHEAD = 7
"""How many times its slots a worker takes ahead of short steps."""
AT_ONCE = 2 * (os.cpu_count() or 1)
"""How many short steps run at once: more of them would only take turns on the same processors."""


@dataclass(slots=True)
class Taken:
    """A command that is leased to this worker and has not begun. `suspect`: it lost a worker before.

    `sure` is when its lease is known to have been live last.
    """

    job: Job
    attempt: int
    since: float
    sure: float
    suspect: bool = False


@record
class Finished:
    """A command that is over, to be reported."""

    key: Key
    outcome: Outcome
    began: float
    attempt: int


class Slots:
    """The commands that a worker holds. Everything here runs in the event loop but `held`, which the heartbeat's thread reads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arriving: set[Key] = set()
        self.taken: dict[Key, Taken] = {}
        self.running: dict[Key, float] = {}
        self.reporting: dict[Key, Finished] = {}
        self.promised = 0
        self.draining = False
        self.average = SHORT
        self.freed = asyncio.Event()
        self.calm = asyncio.Event()

    @property
    def free(self) -> int:
        """How many more commands this worker would take now."""
        if self.draining:
            return 0
        ahead = self.size * AHEAD if self.average < SHORT else 0
        return max(0, self.size + ahead - len(self.running) - len(self.taken) - self.promised)

    @property
    def idle(self) -> bool:
        """Whether this worker has nothing to do."""
        return not (self.draining or self.arriving or self.running or self.taken or self.reporting)

    @property
    def at_once(self) -> bool:
        """Whether a command that is taken now begins now."""
        return not self.taken and len(self.running) < min(self.size, AT_ONCE)

    @property
    def held(self) -> list[list[Json]]:
        """Every lease that this worker answers for: [execution, command, fence]."""
        return [list(key) for key in (*list(self.arriving), *list(self.running), *list(self.taken), *list(self.reporting))]

    def holds(self, key: Key) -> bool:
        """Return whether a command is taken, running or to be reported."""
        return key in self.running or key in self.reporting or key in self.taken

    def take(self, job: Job, attempt: int, asked: float, suspect: bool = False) -> None:
        """Hold a command that was asked for at this moment, unless it is held already."""
        key = job.key
        if not self.holds(key):
            self.taken[key] = Taken(job, attempt, time.monotonic(), asked, suspect)

    def next(self) -> Taken | None:
        """Return a command that may begin now: short ones only a few at once, as long as they are short."""
        if not self.taken or len(self.running) >= self.size:
            return None
        if self.average < SHORT and len(self.running) >= AT_ONCE and time.monotonic() - next(iter(self.running.values())) < SHORT:
            return None
        key = next(iter(self.taken))
        taken = self.taken.pop(key)
        self.running[key] = time.monotonic()
        return taken

    def over(self, taken: Taken, outcome: Outcome, seconds: float) -> None:
        """A command is over; it is reported unless its lease was lost meanwhile."""
        self.average += 0.2 * (seconds - self.average)
        began = self.running.pop(taken.job.key, None)
        if began is not None:
            self.reporting[taken.job.key] = Finished(taken.job.key, outcome, began, taken.attempt)
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for room (`freed`), and once there is nothing to do whoever waits for that (`calm`)."""
        self.freed.set()
        if self.idle:
            self.calm.set()

    def confirm(self, keys: Iterable[Key], sent: float) -> None:
        """These leases were live when the server answered what was sent at this moment."""
        for key in keys:
            if (taken := self.taken.get(key)) is not None:
                taken.sure = max(taken.sure, sent)

    def refuse(self, key: Key, attempt: int, outcome: Outcome) -> None:
        """A command cannot even begin: that is its outcome."""
        self.reporting[key] = Finished(key, outcome, time.monotonic(), attempt)

    def lose(self, key: Key) -> bool:
        """A lease is no longer ours; return whether it runs and has to be stopped."""
        self.taken.pop(key, None)
        self.changed()
        return key in self.running

    def of(self, execution_id: str) -> list[Key]:
        """Return the leases of one execution's commands that run or have not begun."""
        keys = (*self.running, *self.taken)
        return [key for key in keys if key[0] == execution_id]

    def waited(self, seconds: float) -> list[Key]:
        """Give up commands that were taken so long ago and have not had their turn; long ones are in their way."""
        now = time.monotonic()
        late = [key for key, taken in self.taken.items() if now - taken.since > seconds]
        if late:
            self.average = max(self.average, SHORT)
            for key in late:
                del self.taken[key]
        return late
