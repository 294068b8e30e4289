"""Records of which every step makes many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")
_made: Callable[[type], type] = dataclass(slots=True, unsafe_hash=True)


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make a dataclass that nobody may change. The type checker sees to it: one frozen at run time takes three times as long to make."""
    return _made(cls)
