"""The flags that come before a verb and send it to hosts: `-H` and its companions, for Invoke's own `inv` and for `noetl`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from invoke.parser.argument import Argument
from invoke.program import Program

from noetl.tasks.optional_words import named

PARALLEL = 10


@dataclass(frozen=True)
class Given:
    """What the flags say; `hosts` is empty where the verb stays on this machine."""

    hosts: str = ""
    parallel: int = PARALLEL
    batch: str = ""
    fail_fast: bool = False
    failed: bool = False
    accept_new: bool = False
    dry: bool = False

    @property
    def remote(self) -> bool:
        """Whether the verb goes to hosts."""
        return bool(self.hosts) or self.failed


def arguments() -> list[Argument]:
    """Return the flags as Invoke's arguments."""
    return [
        Argument(names=("hosts", "H"), help="Hosts to run the verb on: a,user@b:2222 and @group, from invoke.yaml or hosts.yaml."),
        Argument(names=("parallel",), help="How many hosts at the same time (default 10)."),
        Argument(names=("batch",), help="Hosts in batches, each after the one before: a number, or a share like 25%."),
        Argument(names=("fail-fast",), kind=bool, default=False, help="Begin on no further host once one has failed."),
        Argument(names=("failed",), kind=bool, default=False, help="Only the hosts on which the verb failed last time."),
        Argument(names=("accept-new",), kind=bool, default=False, help="Take the keys of hosts that are not known yet."),
    ]


def given(core: Any) -> Given:
    """Read the flags out of Invoke's parsed words."""
    found = core[0].args if core else {}
    if "hosts" not in found:
        return Given()
    return Given(
        hosts=found["hosts"].value or "",
        parallel=_number(found["parallel"].value),
        batch=found["batch"].value or "",
        fail_fast=found["fail-fast"].value,
        failed=found["failed"].value,
        accept_new=found["accept-new"].value,
        dry=found["dry"].value,
    )


def _number(text: str | None) -> int:
    """Read a number; 0, which is refused in words, where it is none."""
    return (int(text) if text.isdecimal() else 0) if text else PARALLEL


def add_to_loading_program() -> None:
    """Give the flags to the Invoke program that is loading tasks.py right now, and the words of verbs the form that it understands.

    It reads its core flags a second time once tasks.py is loaded, and takes the values over into those of the first time.
    """
    if (program := _loading()) is None or "hosts" in program.core[0].args:
        return
    plain = program.core_args
    program.core_args = lambda: [*plain(), *arguments()]  # type: ignore[method-assign]
    for argument in arguments():
        program.core[0].add_arg(argument)
    program.core.unparsed = named(program.core.unparsed)


def _loading() -> Program | None:
    frame = sys._getframe()
    while (back := frame.f_back) is not None:
        frame = back
        if isinstance(found := frame.f_locals.get("self"), Program):
            return found
    return None
