"""The classes that `retry` sorts errors into, by what an error mapping says of itself (docs/language, retry of a step)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Json = Any
Error = Mapping[str, Json]

_CONNECTION = frozenset(
    {"connection", "ConnectionError", "ConnectionResetError", "ConnectionRefusedError", "ConnectionAbortedError", "BrokenPipeError"}
    | {"ServerDisconnectedError", "ClientConnectionError", "ClientConnectorError", "ClientConnectorDNSError", "ClientOSError"}
    | {"ClientConnectionResetError", "ClientPayloadError", "gaierror"}
)
_TIMEOUT = frozenset({"timeout", "TimeoutError", "ServerTimeoutError", "SocketTimeoutError"})


def _status(error: Error) -> int:
    status = error.get("status")
    return status if isinstance(status, int) else 0


def _state(error: Error) -> str:
    return str(error.get("sqlstate") or "")


CLASSES: Mapping[str, Callable[[Error], bool]] = {
    "any": lambda error: True,
    "timeout": lambda error: error.get("type") in _TIMEOUT or _state(error) == "57014",
    "connection": lambda error: error.get("type") in _CONNECTION or _state(error)[:2] == "08" or _state(error)[:4] == "57P0",
    "http": lambda error: _status(error) > 0,
    "http_4xx": lambda error: _status(error) // 100 == 4,
    "http_5xx": lambda error: _status(error) // 100 == 5,
    "rate_limit": lambda error: _status(error) == 429,
    "sql": lambda error: bool(_state(error)),
    "postgres": lambda error: bool(_state(error)),
    "serialization": lambda error: _state(error)[:2] == "40",
    "deadlock": lambda error: _state(error) == "40P01",
    "constraint": lambda error: _state(error)[:2] == "23",
}
"""Each class by its name, with the test whether an error belongs to it."""

TYPES = frozenset(
    {"process_exit", "memory", "exit_code", "http_status", "reported", "config", "template", "template_limit", "value", "result", "script"}
    | {"missing_argument", "too_large", "not_found", "quarantined", "unavailable", "playbook", "fail", "oauth2", "tool_failed", "error"}
)
"""The types of errors that are no exceptions' names; each is a class of its own."""


def is_of(error: Error, names: frozenset[str]) -> bool:
    """Whether an error belongs to one of these classes: a class of the table, an HTTP status, an SQLSTATE, or the error's own type."""
    if not names:
        return False
    own = {str(error.get("type")), str(_status(error)), _state(error)}
    return not names.isdisjoint(own) or any(name in CLASSES and CLASSES[name](error) for name in names)


def is_class(name: str) -> bool:
    """Whether a name can be a class: known here, an HTTP status, an SQLSTATE, or the name of an exception."""
    if name in CLASSES or name in TYPES:
        return True
    if name.isdecimal() and len(name) == 3:
        return 100 <= int(name) <= 599
    if len(name) == 5 and name[:2].isdecimal() and name.isalnum():
        return True
    return name[:1].isupper() and name.replace(".", "_").isidentifier()
