"""Says what cancelling an execution has stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIRST = 10
"""How many steps, and how many sub-playbooks, are named."""


def text(answer: Mapping[str, Any]) -> str:
    """Return the lines for a person."""
    head = f"execution {answer['execution_id']}: {answer['status']}"
    if "stopped" not in answer:
        return f"{head}, before this already"
    steps, children = answer["stopped"], answer["children"]
    lines = [f"  {step['step']}: {', '.join(_counts(step))}" for step in steps[:FIRST]]
    lines += [f"  and of {len(steps) - FIRST} more steps"] if len(steps) > FIRST else []
    lines += [f"  with it: execution {child['execution_id']} of {child['path']}" for child in children[:FIRST]]
    lines += [f"  and {len(children) - FIRST} more sub-playbooks"] if len(children) > FIRST else []
    return "\n".join([head, *(lines or ["  nothing ran or waited"])])


def _counts(step: Mapping[str, Any]) -> list[str]:
    said = (("running", "stopped while running"), ("waiting", "taken back while waiting"), ("items", "items not begun"))
    return [f"{step[name]:,} {what}" for name, what in said if step[name]]
