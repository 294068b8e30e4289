"""The mapping that python code gets as `context`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from noetl.errors import NotFound


class Context(Mapping[str, Any]):
    """Names that templates see; those that did not travel with the command are fetched when they are first read."""

    def __init__(
        self,
        scope: Mapping[str, Any],
        fetch: Callable[[str], Any],
        names: Collection[str] | None = None,
        partial: Collection[str] = (),
    ) -> None:
        self._values = {name: value for name, value in scope.items() if name not in partial}
        self._fetch = fetch
        self._names = names
        self._more = [name for name in (*partial, *(names or ())) if name not in self._values]

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            if not isinstance(name, str) or (self._names is not None and name not in self._more):
                raise KeyError(name)
            try:
                self._values[name] = self._fetch(name)
            except NotFound:
                raise KeyError(name) from None
        return self._values[name]

    @property
    def known(self) -> Collection[str]:
        """The names that are there for certain."""
        return {*self._values, *self._more}

    def __contains__(self, name: object) -> bool:
        if name in self._values or name in self._more:
            return True
        return self._names is None and self.get(str(name), self) is not self

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._values, *self._more)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"Context({', '.join(self)})"
