"""What a worker hands to a child process, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from noetl.playbook.model import Json, Tool
from noetl.record import record

Key = tuple[str, int, int]
"""Execution id, command id, fence: one lease of one command."""


@record
class Job:
    """One tool call to make.

    `tool_args` (in `tool`) and `step_args` are templates, `run_args` values that came with the transition. `scope` holds the values of the
    names that the templates use; a value may be an `orjson.Fragment`, which travels undecoded. `partial` are the names of which `scope` has
    only some keys; `names` are further names that `context` can fetch, None where nobody counted them.

    `most` is the step's own bound of a call, which a `timeout` of the tool cannot exceed.

    `overrides` are values, laid over the rendered config: `params` and `headers` name by name. `keychain` are the playbook's entries
    (`name`, `kind`, `config`) in their order, or those of them that this call can use. A job with `sink` (`data`, a template, and
    `has_data`) writes: its tool is the sink's, and `scope` has the full result of the call as `this`. `stored` are values that did not
    travel with the command: each its place in the job, and where the server has it (the file that it was brought to, later on).
    """

    key: Key
    step: str
    tool: Tool
    step_args: Mapping[str, Json] = field(default_factory=dict)
    run_args: Mapping[str, Json] = field(default_factory=dict)
    scope: Mapping[str, Json] = field(default_factory=dict)
    envelopes: tuple[str, ...] = ()
    timeout: float = 3600.0
    most: float | None = None
    idempotency_key: str = ""
    names: tuple[str, ...] | None = None
    partial: tuple[str, ...] = ()
    overrides: Mapping[str, Json] = field(default_factory=dict)
    keychain: tuple[Mapping[str, Json], ...] = ()
    sink: Mapping[str, Json] | None = None
    stored: tuple[tuple[tuple[str, ...], str], ...] = ()


@record
class Done:
    """The tool returned: its result as JSON text."""

    result_json: bytes


@record
class Large:
    """The tool returned: its result as JSON text is in a file."""

    file: str
    size: int


@record
class Failed:
    """The tool failed: the mapping that templates see as `error`, and what it had got before that."""

    error: dict[str, Any]
    result_json: bytes | None = None


Outcome = Done | Large | Failed
