"""What is to be broken, and when: the same seed gives the same plan."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "kill worker",
    "kill server",
    "kill nats",
    "kill postgres",
    "stop worker",
    "stop server",
    "stop zygote",
    "drain worker",
    "delete stream",
    "cancel executions",
]
SERVERS, WORKERS = 2, 3
LEASE = 3.0
"""Seconds that a lease of the stack under test lasts."""

# How often, and for how many seconds at least and at most. What is stopped is stopped for longer than a lease, so that it wakes too late.
_KINDS: dict[Kind, tuple[int, float, float]] = {
    "kill worker": (4, 0.0, 1.5),
    "kill server": (4, 0.0, 2.5),
    "kill nats": (2, 0.0, 3.0),
    "kill postgres": (2, 0.0, 3.0),
    "stop worker": (4, LEASE * 0.5, LEASE * 2.5),
    "stop server": (4, LEASE * 0.5, LEASE * 3),
    "stop zygote": (2, LEASE * 0.5, LEASE * 2.5),
    "drain worker": (2, 0.0, 1.0),
    "delete stream": (2, 0.0, 0.0),
    "cancel executions": (2, 0.0, 0.0),
}


@dataclass(frozen=True)
class Fault:
    """One thing that is broken: `at` seconds after the start, for `seconds`; `target` chooses among those of a kind."""

    at: float
    kind: Kind
    target: int
    seconds: float


def make(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a run: one every second or so, the last ones early enough to be over at the end."""
    dice = random.Random(seed)
    kinds = list(_KINDS)
    faults = []
    at = dice.uniform(1.0, 2.0)
    while at < seconds:
        kind = dice.choices(kinds, [_KINDS[one][0] for one in kinds])[0]
        _, least, most = _KINDS[kind]
        faults.append(Fault(round(at, 2), kind, dice.randrange(SERVERS * WORKERS), round(dice.uniform(least, most), 2)))
        at += dice.uniform(0.4, 2.2)
    return faults
