"""How a server goes that others still send people to: it serves on until nobody comes any more."""

from __future__ import annotations

import time
from collections.abc import Callable


class Leaving:
    """Tells how long a server that is to stop still serves: until nobody has come for `quiet` seconds, but never longer than `limit`.

    How long others go on sending people here is theirs: a busy cluster takes longer to take an address out of its rules.
    """

    def __init__(self, quiet: float, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._limit, self._clock = quiet, max(quiet, limit), clock
        self._since: float | None = None
        self._last = 0.0

    @property
    def begun(self) -> bool:
        """Whether it is on its way."""
        return self._since is not None

    def begin(self) -> None:
        """Set out."""
        if self._since is None:
            self._since = self._last = self._clock()

    def came(self) -> None:
        """Note that somebody came."""
        self._last = self._clock()

    def left(self) -> float:
        """Return for how many seconds it serves on at least; 0 where it is time to go."""
        if self._since is None:
            return self._quiet
        return max(0.0, min(self._last + self._quiet, self._since + self._limit) - self._clock())
