"""The playbooks that are measured: python steps that do nothing."""

from __future__ import annotations

NOTHING = "{kind: python, code: 'def main(): return None'}"


def chain(steps: int) -> str:
    """Return a playbook whose steps follow one another."""
    lines = ["apiVersion: noetl.io/v2", "kind: Playbook", f"metadata: {{name: bench_chain_{steps}}}", "workflow:"]
    names = ["start", *(f"step_{number}" for number in range(2, steps + 1))]
    for name, following in zip(names, [*names[1:], None], strict=True):
        lines += [f"  - step: {name}", f"    tool: {NOTHING}"] + ([f"    next: {following}"] if following else [])
    return "\n".join(lines) + "\n"


def loop(items: int) -> str:
    """Return a playbook with a parallel loop."""
    return f"""apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: bench_loop_{items}}}
workflow:
  - step: start
    tool: {{kind: python, code: 'def main(): return list(range({items}))'}}
    next: each
  - step: each
    loop: {{in: "{{{{ start }}}}", iterator: item, mode: parallel}}
    tool: {NOTHING}
"""
