"""The JSON Schema accepts what the parser reads and refuses what of the broken playbooks a schema can see."""

from pathlib import Path
from typing import Any

import pytest

from noetl.playbook.document import load
from noetl.playbook.kinds import KINDS
from noetl.playbook.mistakes import Mistakes
from noetl.playbook.parse import parse
from noetl.playbook.schema import schema

jsonschema = pytest.importorskip("jsonschema")

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: demo}\n"
BROKEN = Path(__file__).parents[2] / "cases" / "broken"


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def value_of(text: str) -> Any:
    return load(text, Mistakes(text, "text")).value


GOOD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: good, path: /a/good, owner: me}
workload: {a: 1}
workbook: [{name: w, tool: {kind: shell, cmds: [a, b], timeout: 5m}}]
workflow:
  - step: start
    loop: {in: [1], iterator: one, mode: async}
    tool: {kind: python, code: a, libs: {m: math}, args: {a: null}, timeout: "{{ workload.t }}"}
    case:
      - when: "{{ true }}"
        then: [{step: end}, {set: [{name: a, value: 1}], result: null, log: a}, {fail: true}]
      - {when: false, then: {call: {step: end, args: {a: 1}}, set: {a: 1}, next: [end, {step: end}]}}
    next: {step: end}
    x-mine: 1
  - {step: http, tool: {kind: http, url: a, headers: {a: b}, json: [1], verify: false}, next: null}
  - {step: sql, tool: {kind: postgres, auth: {source: credential, key: a}, query: [a, b]}}
  - {step: file, tool: {kind: duckdb, database: a, script: {uri: a.sql, source: {type: file}}}}
  - {step: shared, tool: {kind: workbook, name: w, with: {a: 1}}}
  - {step: end, desc: done}
"""


def test_a_playbook_of_every_supported_word_is_accepted(validator: Any) -> None:
    assert parse(GOOD)
    validator.validate(value_of(GOOD))


@pytest.mark.parametrize("name", ["document", "steps", "targets", "rules", "loops", "tools", "not_yet"])
def test_broken_playbooks_are_refused(validator: Any, name: str) -> None:
    assert not validator.is_valid(value_of((BROKEN / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.supported])
def test_kinds_that_this_version_lacks_are_refused(validator: Any, name: str) -> None:
    value = value_of(HEAD + "workflow: [{step: start}]")
    assert validator.is_valid(value)
    value["workflow"][0]["tool"] = {"kind": name}
    assert not validator.is_valid(value)
