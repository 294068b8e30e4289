"""A playbook as typed, frozen values. Templates are kept as written; who renders them is in docs/architecture.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict. Strings in it may be templates."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the playbook's text, both numbers from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Target:
    """A step to enter, and the args handed to it."""

    step: str
    args: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Next:
    """Enter these steps; more than one means all of them, in parallel."""

    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """Enter this step now; counts as the run's transition."""

    target: Target


@dataclass(frozen=True, slots=True)
class Set:
    """Store variables, in this order. `merge_ctx` is merged into the variable `ctx`."""

    values: tuple[tuple[str, Json], ...]
    merge_ctx: Json | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Replace the step's result: by what the dotted name `source` leads to, or else by `value`."""

    value: Json = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """End the execution FAILED with this message."""

    message: Json


@dataclass(frozen=True, slots=True)
class Log:
    """Write a line to the server's log."""

    message: Json


@dataclass(frozen=True, slots=True)
class Tool:
    """What a step runs: its kind, the rest of the mapping as written (without `kind`, `args` and `with`), its args.

    `sink` is that of the workbook's entry which the tool is from.
    """

    kind: str
    config: Mapping[str, Json]
    args: Mapping[str, Json] = field(default_factory=dict)
    sink: Sink | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Call the tool again after an error: at most `max_attempts` calls in all, with delays in seconds."""

    max_attempts: int = 3
    initial_delay: float = 1.0
    multiplier: float = 2.0
    backoff: Literal["linear", "exponential"] = "exponential"
    max_delay: float = 60.0
    jitter: bool = False


@dataclass(frozen=True, slots=True)
class StepRetry:
    """Call a step's tool again after an error of the classes `on`, but none of `excepted` (noetl/playbook/error_classes.py)."""

    retry: Retry
    on: frozenset[str] = frozenset({"any"})
    excepted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Timeout:
    """Bounds in seconds: of one call of a step's tool, and of the whole run of the step."""

    attempt: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Call the tool again after success, with these values over its config: at most `max_attempts` calls in all."""

    overrides: Mapping[str, Json]
    max_attempts: int = 100


@dataclass(frozen=True, slots=True)
class Collect:
    """Keep a value of this call: what the dotted `path` or the template or dotted name `source` leads to; `into` a variable too."""

    mode: Literal["append", "extend", "replace"] = "append"
    path: str | None = None
    source: Json = None
    into: str | None = None


@dataclass(frozen=True, slots=True)
class Sink:
    """Write data somewhere: what `data` renders to if `has_data`, else the step's unwrapped result."""

    tool: Tool
    data: Json = None
    has_data: bool = False


Action = Next | Call | Set | Result | Fail | Log | Retry | Page | Collect | Sink


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `case`: its actions in the order in which they are carried out."""

    when: Json
    then: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Run the step's tool for each item; `items` is the template or list of `in`, `limit` how many at once (a number or a template)."""

    items: Json
    iterator: str
    mode: Literal["sequential", "parallel"] = "sequential"
    limit: int | str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the workflow. `tool` is None for a `start` or `end` that does nothing. A `workbook` tool is already resolved.

    `when` is None for a step that is never skipped, `pool` empty for one that runs where its playbook does.
    """

    name: str
    tool: Tool | None
    desc: str = ""
    args: Mapping[str, Json] = field(default_factory=dict)
    loop: Loop | None = None
    vars: tuple[tuple[str, Json], ...] = ()
    rules: tuple[Rule, ...] = ()
    next: tuple[Target, ...] = ()
    when: Json = None
    timeout: Timeout = Timeout()
    retry: StepRetry | None = None
    pool: str = ""
    position: Position = Position(1, 1)


@dataclass(frozen=True, slots=True)
class KeychainEntry:
    """One definition of `keychain`: its kind, and the rest of the mapping as written."""

    name: str
    kind: str
    config: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What an execution may be given under a name. A default is in the playbook's workload too."""

    type: str = "any"
    required: bool = False
    description: str = ""
    enum: tuple[Json, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Playbook:
    """A whole playbook; `steps` in the order of the document. `inputs` is None where it declares none: then it takes any."""

    name: str
    path: str
    steps: Mapping[str, Step]
    description: str = ""
    version: str = ""
    labels: Mapping[str, Json] = field(default_factory=dict)
    workload: Mapping[str, Json] = field(default_factory=dict)
    keychain: tuple[KeychainEntry, ...] = ()
    spec: Json = None
    inputs: Mapping[str, InputSpec] | None = None
    output: Json = None
    on_failure: Target | None = None
    pool: str = ""
    warnings: tuple[str, ...] = ()
