"""Rounds bounds to a few digits such that they remain bounds."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


def above(value: float, digits: int = 3) -> str:
    """Return a number rounded up to ``digits`` digits, "inf" or "nan" unchanged."""
    return _rounded(value, digits, ROUND_CEILING)


def below(value: float, digits: int = 3) -> str:
    """Return a number rounded down to ``digits`` digits, "inf" or "nan" unchanged."""
    return _rounded(value, digits, ROUND_FLOOR)


def _rounded(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value):
        return str(value)
    exact = Decimal(value)
    if exact == 0:
        return "0"
    place = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return f"{float(exact.quantize(place, rounding=rounding)):.{digits}g}"
