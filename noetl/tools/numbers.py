"""Numbers of databases as numbers of JSON."""

from __future__ import annotations

import decimal
import math

from noetl.tools.base import ToolError

_EXACT = 2**53
"""From here on a float no longer holds every whole number."""
_MOST_DIGITS = 1000


def finite(value: float) -> float | None:
    """Return the number; NaN and the infinities, for which JSON has no number, are None."""
    return value if math.isfinite(value) else None


def number(value: decimal.Decimal) -> int | float | None:
    """Return the nearest float, of whole numbers that no float holds the number itself; NaN and the infinities are None."""
    if not value.is_finite():
        return None
    if abs(value) >= _EXACT and value.adjusted() < _MOST_DIGITS and value == value.to_integral_value():
        return int(value)
    nearest = float(value)
    if math.isinf(nearest):
        raise ToolError(f"a number of {value.adjusted() + 1} digits is too large for a result; select it as text", type="value")
    return nearest
