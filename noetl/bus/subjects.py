"""The names used on NATS."""

from __future__ import annotations

from noetl.playbook.bounds import POOL as POOL

STREAM = "NOETL_COMMANDS"
PREFIX = "noetl.commands"
CANCELLED = "noetl.cancelled"


def commands(pool: str) -> str:
    """Return the subject on which a pool's commands are rung."""
    return f"{PREFIX}.{pool}"


def consumer(pool: str) -> str:
    """Return the name of the consumer that a pool's workers share."""
    return f"noetl_{pool}"


def encode(execution_id: int, command_id: int) -> bytes:
    """Return the body of a ring."""
    return b"%d:%d" % (execution_id, command_id)


def decode(body: bytes) -> tuple[int, int] | None:
    """Read a ring's body; None for one that is not ours."""
    execution, _, command = body.partition(b":")
    return (int(execution), int(command)) if execution.isdigit() and command.isdigit() else None
