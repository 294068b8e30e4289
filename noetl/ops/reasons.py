"""Lays out why an execution does not move, for somebody who is tired: one screen, the likeliest cause first."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from noetl.ops import live, tables

WIDTH = 80
MOST = 12
EXIT_CODES = {"moving": 0, "stuck": 3}
"""What `execution.why` exits with; of an execution that is over 0 if it COMPLETED, else 1."""


def exit_code(found: Mapping[str, Any]) -> int:
    """Return the verb's exit code: 0 it moves or has COMPLETED, 3 somebody has to do something, 1 FAILED or CANCELLED."""
    return EXIT_CODES.get(str(found["verdict"]), 0 if found["status"] == "COMPLETED" else 1)


def text(found: Mapping[str, Any], now: float | None = None) -> str:
    """Return the explanation as text of 80 columns."""
    at = time.time() if now is None else now
    since = _moment(found["end_time"] or found["start_time"], at)
    verdict = {"moving": "it moves", "stuck": "IT DOES NOT MOVE", "over": "it is over"}[str(found["verdict"])]
    lines = [
        f"{found['path']}  {found['execution_id']}  {found['status']}: {verdict}",
        f"{'ended' if found['end_time'] else 'begun'} {since}",
    ]
    lines += _reasons(found["reasons"], at, "")
    error = found.get("last_error")
    if error and found["verdict"] != "over":
        step = f" in {error['step']}" if error.get("step") else ""
        lines += ["", *_wrapped(f"last error{step}: {live.error_text(error)}", "  "), *_wrapped(f"  {error.get('hint') or ''}", "  ")]
    if found["type"]:
        lines += ["", "type:", *(f"  {line}" for line in found["type"])]
    return "\n".join(lines)


def _reasons(reasons: list[dict[str, Any]], now: float, indent: str) -> list[str]:
    lines = [""] if not indent else []
    for reason in reasons[:MOST]:
        mark = "·" if reason["moves"] else "✗"
        count = f" ({reason['commands']} commands)" if (reason.get("commands") or 0) > 1 and reason["state"] != "failed" else ""
        item = f"[{reason['item']}]" if reason.get("item") is not None else ""
        step = f"{reason['step']}{item}{count}: " if reason.get("step") else ""
        lines += _wrapped(f"{indent}{mark} {step}{reason['text']}", f"{indent}    ")
        lines += _wrapped(f"{indent}    {reason.get('hint') or ''}", f"{indent}    ")
        facts = _facts(reason, now)
        lines += _wrapped(f"{indent}    {'; '.join(facts)}", f"{indent}    ") if facts else []
        if reason.get("why"):
            lines += _reasons(reason["why"]["reasons"], now, f"{indent}    ")
    if len(reasons) > MOST:
        lines.append(f"{indent}… and {len(reasons) - MOST} more: --json")
    return lines


def _facts(reason: Mapping[str, Any], now: float) -> list[str]:
    facts = [f"since {_moment(reason['since'], now)}"] if reason.get("since") else []
    facts += [f"until {_moment(reason['until'], now)}"] if reason.get("until") else []
    if reason["state"] == "running":
        facts.append(f"lease ends {_moment(reason['lease_until'], now)}")
        facts += [f"last heartbeat {_moment(reason['last_heartbeat'], now)}"] if reason.get("last_heartbeat") else []
    if reason.get("attempts", 1) > 1:
        facts.append(f"attempt {reason['attempts']}")
    if reason.get("items"):
        facts.append(f"{reason['items']} {'item' if reason['items'] == 1 else 'items'} failed")
    return facts


def _moment(text: str, now: float) -> str:
    moment = datetime.fromisoformat(text)
    seconds = moment.timestamp() - now
    near = tables.duration(abs(seconds))
    day = "%H:%M:%S" if abs(seconds) < 43200 else "%Y-%m-%d %H:%M:%S"
    return f"{moment.astimezone():{day}} ({f'in {near}' if seconds > 0 else f'{near} ago'})"


def _wrapped(line: str, indent: str) -> list[str]:
    first = line.splitlines()[0] if line else ""
    return (
        textwrap.wrap(first[:600], WIDTH, subsequent_indent=indent, initial_indent="", drop_whitespace=True, break_on_hyphens=False)
        if first.strip()
        else []
    )
