"""Playbooks of the resilience tests. What a step did is seen in the table `effect` of a database that no test kills."""

from __future__ import annotations

import json
import textwrap
from typing import Any

HEAD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: tests/{name}}}
workload: {{items: 40, pause: 0.1, note: ""}}
workflow:
"""
SQUARES = (
    HEAD.format(name="squares")
    + """\
  - step: start
    tool: {kind: python, code: "result = 1"}
    next: each
  - step: each
    loop: {in: "{{ range(workload['items']) | list }}", iterator: n, mode: parallel}
    tool:
      kind: postgres
      auth: outside
      command: >-
        INSERT INTO effect (execution, n) VALUES ('{{ execution_id }}', {{ n }});
        SELECT pg_sleep({{ workload.pause }});
        SELECT {{ n }} * {{ n }} AS square
    next: end
  - step: end
    tool:
      kind: python
      args: {rows: "{{ each.results }}"}
      code: |
        def main(rows):
            return sum(row["command_2"]["rows"][0]["square"] for row in rows)
"""
)
"""A parallel loop of SQL steps with an effect each; its result is the sum of squares."""


def python(name: str, *steps: tuple[str, str] | tuple[str, str, dict[str, Any]]) -> str:
    """Return a playbook of python steps, one after another; each is (name, code) and what else it has."""
    text = HEAD.format(name=name)
    for place, (step, code, *more) in enumerate(steps):
        tool = {"kind": "python", "code": textwrap.dedent(code)}
        document: dict[str, Any] = {"step": step, "tool": tool, **(more[0] if more else {})}
        if place + 1 < len(steps):
            document["next"] = steps[place + 1][0]
        text += f"  - {json.dumps(document)}\n"
    return text


def append(file: str, then: str) -> str:
    """Return code that leaves a line in a file and goes on."""
    return f"def main():\n    import ctypes, os, re, signal, time\n    open({file!r}, 'a').write('x')\n" + textwrap.indent(
        textwrap.dedent(then), "    "
    )


DIE_WITH_THE_WORKER = """\
pid = os.getpid()
while b"noetl.worker\\0" not in open(f"/proc/{pid}/cmdline", "rb").read():
    pid = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
os.kill(pid, signal.SIGKILL)
time.sleep(30)
"""
