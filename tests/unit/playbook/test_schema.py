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
input:
  a: string
  b: {type: integer, default: 1, required: true, description: d, enum: [1, 2], min: 1, max: 2}
  c:
output: {a: "{{ a }}"}
on_failure: {step: end, args: {a: 1}}
pool: big-1
keychain:
  - {name: a, kind: static, scope: local, map: {k: v}}
  - {name: b, kind: bearer, token: "{{ keychain.a.k }}", auto_renew: true}
  - {name: c, kind: oauth2, endpoint: "http://u", method: POST, headers: {h: v}, data: {grant_type: g}, timeout: 5s}
  - {name: d, kind: credential_ref, ref: r}
workbook: [{name: w, tool: {kind: shell, cmds: [a, b], timeout: 5m}}]
workflow:
  - step: start
    loop: {in: [1], iterator: one, mode: async, limit: 3}
    when: "{{ workload.a }}"
    timeout: {attempt: 30s, total: 5m}
    retry: {max_attempts: 3, on: [http_5xx, 429, ValueError], except: timeout, jitter: true}
    pool: small
    tool: {kind: python, code: a, libs: {m: math}, args: {a: null}, timeout: "{{ workload.t }}"}
    case:
      - when: "{{ true }}"
        then: [{step: end}, {set: [{name: a, value: 1}], result: null, log: a}, {fail: true}]
      - {when: false, then: {call: {step: end, args: {a: 1}}, set: {a: 1}, next: [end, {step: end}]}}
      - when: "{{ event.name == 'call.error' }}"
        then: [{retry: true}, {retry: {jitter: true}}, {retry: "4"}, {retry: {max_attempts: "3", delay: 0, max_delay: 1m, backoff: linear}}]
      - when: "{{ event.name == 'call.done' }}"
        then:
          - {collect: {strategy: append, path: data.data, into: pages}, retry: {params: {page: 2}, max_attempts: 20}}
          - {collect: {from: "{{ response }}", mode: replace}, call: {url: b, headers: {a: b}}}
          - sink: {tool: postgres, table: t, mode: upsert, key: [a, b], auth: c, args: {a: 1}}
          - sink: {tool: {kind: postgres, auth: c}, statement: "a :b", from: {b: 1}}
          - sink: {backend: duckdb, commands: a}
          - sink: {tool: {type: python, code: "def main(data): pass"}}
          - sink: {tool: http, endpoint: "http://u", method: PUT, payload: {a: b}}
          - sink: {tool: event_log, args: "{{ response }}", anything: 1}
    next: {step: end}
    x-mine: 1
  - {step: http, tool: {kind: http, url: "http://a", headers: {a: b}, json: [1], verify: false}, next: null}
  - {step: sql, tool: {kind: postgres, auth: {source: credential, key: a}, query: [a, b]}}
  - {step: file, tool: {kind: duckdb, database: a, script: {uri: a.sql, source: {type: file}}}}
  - {step: shared, tool: {kind: workbook, name: w, with: {a: 1}}}
  - {step: inline, tool: {kind: python, script: {source: {type: inline, code: "x = {{ ("}}}}
  - {step: fetched, tool: {kind: postgres, script: {source: {type: http, endpoint: "http://u", method: GET, headers: {a: b}}}}}
  - {step: child, tool: {kind: playbook, path: a/b, payload: {a: 1}, return_step: end, version: 2, timeout: 60}}
  - {step: secret, tool: {kind: secrets, provider: env, name: NOETL_VAR_A}}
  - step: moved
    tool:
      kind: transfer
      source: {type: http, url: "http://u", data_path: data.items}
      target: {tool: postgres, auth: {source: credential, key: k}, table: t, mode: replace, mapping: {a: b.c}}
      chunk_size: 100
  - {step: end, desc: done}
"""


def test_a_playbook_of_every_supported_word_is_accepted(validator: Any) -> None:
    assert parse(GOOD)
    validator.validate(value_of(GOOD))


@pytest.mark.parametrize("name", [path.stem for path in sorted(BROKEN.glob("*.yaml")) if path.stem != "templates"])
def test_broken_playbooks_are_refused(validator: Any, name: str) -> None:
    assert not validator.is_valid(value_of((BROKEN / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.supported])
def test_kinds_that_this_version_lacks_are_refused(validator: Any, name: str) -> None:
    value = value_of(HEAD + "workflow: [{step: start}]")
    assert validator.is_valid(value)
    value["workflow"][0]["tool"] = {"kind": name}
    assert not validator.is_valid(value)
