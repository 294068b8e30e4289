"""The error of a step, as templates see it."""

from __future__ import annotations

from typing import Any


class Problem(dict[str, Any]):
    """A failure as a mapping (`error.status`, `error.type`) that prints as its message and is searched like text: `'timeout' in error`."""

    def __str__(self) -> str:
        return str(self.get("message", ""))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and key in str(self))

    def __getitem__(self, key: Any) -> Any:
        return str(self)[key] if isinstance(key, slice) else super().__getitem__(key)
