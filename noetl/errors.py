"""The errors that reach a user: what happened, where, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_HINT = 600
"""Characters of a hint that are recorded of a step's error."""


class NoetlError(Exception):
    """Base of every error that noetl raises on purpose.

    `code` is stable and machine-readable, `exit_code` is what a verb exits with, `http_status` what the server answers.
    """

    code = "error"
    exit_code = 1
    http_status = 500

    def __init__(self, message: str, hint: str = "", *, code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def as_error(self, before: str = "") -> dict[str, Any]:
        """Return the error as it is recorded of a step or an execution: message, type, and the hint where there is one."""
        hint = self.hint if len(self.hint) <= MOST_HINT else f"{self.hint[: MOST_HINT - 3]}..."
        return {"message": f"{before}{self.message}", "type": self.code, **({"hint": hint} if hint else {})}

    def as_json(self) -> dict[str, Any]:
        """Return the error as the server answers it: code, message, hint and whatever details it has."""
        return {"code": self.code, "message": self.message, "hint": self.hint, **({"details": self.details} if self.details else {})}


class UsageError(NoetlError):
    """The caller asked for something that cannot be asked."""

    code = "usage"
    exit_code = 2
    http_status = 400


class PlaybookError(NoetlError):
    """A playbook that cannot be read; `details` has `problems`, each with line, column, message, hint and excerpt."""

    code = "bad_playbook"
    exit_code = 2
    http_status = 422


class Unauthorized(NoetlError):
    """No token, or not the right one."""

    code = "unauthorized"
    http_status = 401

    @classmethod
    def at(cls, url: str) -> Unauthorized:
        """Return the error of whoever was refused by the server there."""
        hint = "set NOETL_API_TOKEN to the server's, or NOETL_HOME to the folder that has it"
        return cls(f"the server at {url} refuses this token", hint)


class NotFound(NoetlError):
    """The thing named does not exist."""

    code = "not_found"
    http_status = 404


class Conflict(NoetlError):
    """The request does not fit the state that the thing is in."""

    code = "conflict"
    http_status = 409


class TooLarge(NoetlError):
    """A request or a result above its limit."""

    code = "too_large"
    http_status = 413


class Unavailable(NoetlError):
    """Something that is needed (server, database, NATS) does not answer."""

    code = "unavailable"
    http_status = 503
