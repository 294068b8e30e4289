"""Moments as flags name them."""

from __future__ import annotations

from datetime import UTC, datetime

from noetl.errors import UsageError
from noetl.playbook.duration import seconds


def moment(text: str, now: float, flag: str = "--since") -> float:
    """Return the moment that a flag means: so long ago (30s, 10m, 2h, 1d), or an ISO time, local unless it names its zone."""
    if (ago := seconds(text)) is not None:
        return now - ago
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise UsageError(f"{flag} {text!r} is no time", f"{flag} 10m, {flag} 2h, or {flag} 2026-01-31T09:00:00Z") from None


def iso(text: str, now: float, flag: str = "--since") -> str:
    """Return that moment as ISO text, in UTC."""
    return datetime.fromtimestamp(moment(text, now, flag), UTC).isoformat()
