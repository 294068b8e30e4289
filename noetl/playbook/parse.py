"""Playbook text to a Playbook."""

from __future__ import annotations

from collections.abc import Mapping

from noetl.playbook.bounds import read_pool
from noetl.playbook.check import NOTHING, Check
from noetl.playbook.document import Field, Node, load
from noetl.playbook.doubts import no_secrets, unknown_entries
from noetl.playbook.inputs import read_inputs
from noetl.playbook.keychain import read_keychain
from noetl.playbook.mistakes import Mistakes
from noetl.playbook.model import Playbook, Target
from noetl.playbook.steps import read_steps
from noetl.playbook.targets import read_next
from noetl.playbook.tool import read_workbook

API_VERSION = "noetl.io/v2"
KIND = "Playbook"
WORDS = (
    *("apiVersion", "kind", "metadata", "name", "path", "input", "workload", "keychain", "workbook", "workflow", "output", "on_failure"),
    *("pool", "spec", "tracing"),
)

_SYNONYMS = {
    "steps": "workflow",
    "tasks": "workbook",
    "inputs": "input",
    "outputs": "output",
    "on_error": "on_failure",
    "api_version": "apiVersion",
    "version": "apiVersion",
}


def parse(text: str, source: str = "<playbook>") -> Playbook:
    """Return the playbook that a text is; raise PlaybookError with everything that is wrong with it.

    `source` names the text in messages: a file's path, say. The error's `details["problems"]` has a mapping of line, column, message,
    hint and excerpt for each mistake, from the top of the text down; its message speaks of the first.
    """
    mistakes = Mistakes(text, source)
    root = load(text, mistakes)
    playbook = _playbook(Check(mistakes), root)
    mistakes.check()
    return playbook


def _playbook(check: Check, root: Node) -> Playbook:
    fields = check.mapping(root, "a playbook")
    if root.fields is None:
        raise check.mistakes.error()
    check.words(fields, WORDS, "a playbook", _SYNONYMS)
    _constant(check, root, "apiVersion", API_VERSION)
    _constant(check, root, "kind", KIND)
    metadata = _metadata(check, root)
    name, path = _names(check, fields, metadata)
    keychain = read_keychain(check, check.field(fields, "keychain"))
    workflow = check.field(fields, "workflow")
    workload = check.values(check.field(fields, "workload"), "`workload`")
    workbook = read_workbook(check, check.field(fields, "workbook"))
    steps = read_steps(check, workflow, workbook) if workflow is not None else {}
    if workflow is None or workflow.value == []:
        position = fields["workflow"].position if "workflow" in fields else root.position
        check.mistakes.add(position, "`workflow` needs at least one step", "write workflow: [{step: start, …}]")
    elif workflow.items is not None and "start" not in steps:
        check.mistakes.add(fields["workflow"].position, "`workflow` needs a step named `start`", check.nearest("start", steps))
    inputs, defaults = read_inputs(check, check.field(fields, "input"))
    output = check.field(fields, "output")
    on_failure = _on_failure(check, check.field(fields, "on_failure"))
    check.targets(steps)
    no_secrets(check, fields, "the playbook")
    lists = (node for node in (workflow, check.field(fields, "workbook")) if node is not None)
    unknown_entries(check, lists, [entry.name for entry in keychain])
    return Playbook(
        name=name,
        path=path,
        steps=steps,
        description=_written(metadata, "description"),
        version=_written(metadata, "version"),
        labels=_labels(metadata),
        workload={**defaults, **workload},
        inputs=inputs,
        output=check.value(output) if output is not None else None,
        on_failure=on_failure,
        pool=read_pool(check, check.field(fields, "pool"), "`pool` of the playbook"),
        keychain=keychain,
        spec=fields["spec"].node.value if "spec" in fields else None,
        warnings=check.mistakes.warnings,
    )


def _on_failure(check: Check, node: Node | None) -> Target | None:
    """Return the step that is entered when the execution has failed."""
    targets = read_next(check, node, "`on_failure`")
    if node is not None and (node.items is not None or not targets):
        check.mistakes.add(node.position, "`on_failure` is one step: its name, or {step, args}")
    return targets[0] if targets else None


def _constant(check: Check, root: Node, key: str, expected: str) -> None:
    field = (root.fields or NOTHING).get(key)
    if field is None:
        check.mistakes.add(root.position, f"a playbook needs `{key}`", f"write {key}: {expected}")
    elif field.node.value != expected:
        check.mistakes.add(field.node.position, f"`{key}` has to be `{expected}`", f"write {key}: {expected}")


def _metadata(check: Check, root: Node) -> Mapping[str, Field]:
    fields = root.fields or NOTHING
    node = check.field(fields, "metadata")
    if node is None:
        check.mistakes.add(root.position, "a playbook needs `metadata` with a `name`", "write metadata: {name: NAME}")
        return NOTHING
    metadata = check.mapping(node, "`metadata`")
    if node.fields is not None and check.field(metadata, "name") is None:
        check.mistakes.add(node.position, "`metadata` needs a `name`", "write metadata: {name: NAME}")
    return metadata


def _names(check: Check, fields: Mapping[str, Field], metadata: Mapping[str, Field]) -> tuple[str, str]:
    """Return the name and the catalog path: of `metadata.path`, `path`, `metadata.name` the first that is given."""
    name_node = check.field(metadata, "name")
    name = check.name(name_node, "`name` of `metadata`") if name_node is not None else ""
    for holder, what in ((metadata, "`path` of `metadata`"), (fields, "`path`")):
        if (path := check.field(holder, "path")) is not None:
            return name, check.name(path, what)
    return name, name


def _written(metadata: Mapping[str, Field], key: str) -> str:
    """Return a scalar as it is written, so that `version: 1.10` stays 1.10."""
    return metadata[key].node.text if key in metadata and metadata[key].node.value is not None else ""


def _labels(metadata: Mapping[str, Field]) -> Mapping[str, object]:
    value = metadata["labels"].node.value if "labels" in metadata else None
    return value if isinstance(value, dict) else {}
