"""Run one playbook: register it, execute it, follow it, tell how it ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from noetl.errors import NoetlError, UsageError
from noetl.ops import live
from noetl.ops.client import Client
from noetl.ops.follow import Snapshot, follow, result
from noetl.playbook.inputs import check_payload, from_text
from noetl.playbook.mistakes import nearest, quote
from noetl.playbook.model import Playbook
from noetl.playbook.parse import parse

EXIT_CODES = {"COMPLETED": 0, "FAILED": 1, "CANCELLED": 130}


@dataclass(frozen=True)
class Ended:
    """How an execution ended, with the exit code of the verb that ran it."""

    execution_id: str
    document: dict[str, Any]
    exit_code: int


def read_playbook(file: str) -> tuple[str, Playbook]:
    """Read a playbook's text and what it says; a broken one raises PlaybookError before anything is started."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name a playbook's YAML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no UTF-8 text", "name a playbook's YAML file") from error
    return text, parse(text, file)


def doubts(given: Mapping[str, Any], playbook: Playbook) -> list[str]:
    """Return warnings of keys that the workload has not, and that are likely to be misspelt; declared inputs are checked by themselves."""
    if playbook.inputs is not None:
        return []
    hints = {key: nearest(key, playbook.workload) for key in given if key not in playbook.workload}
    return [f"the workload has no {quote(key)}: {hint}" for key, hint in hints.items() if hint.startswith("did you mean")]


def payload(text: str, assignments: Sequence[str], playbook: Playbook | None = None) -> dict[str, Any]:
    """Build the payload from JSON (or `@file` with JSON) and `key=value` words; `a.b=1` sets inside a mapping.

    With a playbook that declares its inputs, a word becomes a value of its input's type, and what does not fit raises BadInput.
    """
    inputs = (playbook.inputs if playbook is not None else None) or {}
    built: Any = {}
    if text:
        built = _json_object(_file_text(text[1:]) if text.startswith("@") else text, text if text.startswith("@") else "--payload")
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {assignment!r} is no key=value", "--set name=value")
        _set(built, name.split("."), from_text(inputs[name], value) if name in inputs else _value(value), assignment)
    if playbook is not None:
        check_payload(playbook.inputs, playbook.workload, built, f"playbook {playbook.path}")
    return dict(built)


def register(client: Client, text: str) -> dict[str, Any]:
    """Put a playbook into the catalog; the same text again gives the same version."""
    return dict(client.post("/api/catalog/register", {"content": text, "resource_type": "Playbook"}))


def execute(client: Client, entry: dict[str, Any], given: dict[str, Any]) -> str:
    """Start an execution of a catalog entry and return its id."""
    return str(client.post("/api/execute", {"path": entry["path"], "version": entry["version"], "payload": given})["execution_id"])


def watch(client: Client, execution_id: str, output: IO[str], *, colour: bool = True) -> Ended:
    """Show an execution until it ends; Ctrl-C asks the server to cancel it."""
    try:
        live.show(follow(client, execution_id), output, colour=colour)
    except KeyboardInterrupt:
        output.write(f"cancelling execution {execution_id}\n")
        return cancelled(client, execution_id)
    return ended(client, execution_id)


def ended(client: Client, execution_id: str) -> Ended:
    """Return how an execution ended."""
    document = result(client, execution_id)
    return Ended(execution_id, document, EXIT_CODES.get(str(document.get("status")), 1))


def cancelled(client: Client, execution_id: str) -> Ended:
    """Ask the server to cancel an execution, wait a little for it, and return where it stands; the exit code is Ctrl-C's."""
    with contextlib.suppress(NoetlError, KeyboardInterrupt):
        client.post(f"/api/executions/{execution_id}/cancel", {"reason": "Ctrl-C"})
        for _snapshot in _at_most(follow(client, execution_id, patience=5), 50):
            pass
    document: dict[str, Any] = {"execution_id": execution_id, "status": "CANCELLED"}
    with contextlib.suppress(NoetlError):
        document = result(client, execution_id)
    return Ended(execution_id, document, 130)


def _at_most(snapshots: Iterator[Snapshot], count: int) -> Iterator[Snapshot]:
    for _, snapshot in zip(range(count), snapshots, strict=False):
        yield snapshot


def _json_object(text: str, source: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise UsageError(f"{source} is no JSON: {error}", """--payload '{"name": "value"}', or --payload @file.json""") from error
    if not isinstance(found, dict):
        raise UsageError(f"{source} is no JSON object", """--payload '{"name": "value"}', or --payload @file.json""")
    return found


def _file_text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", "--payload @file.json") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is no UTF-8 text", "--payload @file.json") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _set(target: dict[str, Any], names: Sequence[str], value: Any, assignment: str) -> None:
    for name in names[:-1]:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {assignment!r}: {name} is no mapping", "set it as a whole with --payload")
        target = inner
    target[names[-1]] = value
