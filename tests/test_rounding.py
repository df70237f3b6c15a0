"""Bounds that are printed with few digits are still bounds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.rounding import above, below


@given(st.floats(1e-12, 1e12), st.integers(1, 6))
def test_bounds_are_rounded_to_the_safe_side_and_by_less_than_a_digit(
    value: float, digits: int
) -> None:
    low, high = float(below(value, digits)), float(above(value, digits))
    assert low <= value <= high
    assert high - low <= 1.0000001 * 10.0 ** (math.floor(math.log10(value)) - digits + 1)


def test_what_is_no_finite_number_is_printed_as_it_is() -> None:
    assert (above(math.inf), below(math.inf)) == ("inf", "inf")
    assert (above(math.nan), above(0.0)) == ("nan", "0")
