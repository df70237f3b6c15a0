"""The norm of a bank of filters for images of every size: a proven upper bound.

W x are the correlations of an image x with n filters h_f of k x k pixels. With weights w_f >= 0

    sum_f w_f ||(W x)_f||^2 <= T ||x||^2,   T = sup over frequencies of sum_f w_f |H_f|^2,

for images of every size that continue periodically or with zeros, and for every dilation of the
filters (docs/theory.md, section 3.9); not for images that are mirrored at the border. The sum is
a nonnegative trigonometric polynomial of degree k - 1 in both variables. Between the points of a
grid of M x M frequencies it rises above the largest value on the grid by a factor of at most
cos(pi (k - 1) / (2 M))^-4. The values are computed in double precision, and a bound of all rounding
errors is added.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.rational import float_above

Array = NDArray[np.floating[Any]]

# Points of the grid for each degree: the bound is at most 3.1e-4 too large, relatively.
_POINTS_PER_DEGREE = 128

_UNIT_ROUNDOFF = 2.0**-53

# pi to 50 digits after the point.
_PI = Fraction(314159265358979323846264338327950288419716939937510, 10**50)

# Bits after the point of the table's cosines while they are made.
_BITS = 96


def squared_norm(filters: Array, weights: Array | None = None) -> float:
    """Return a proven upper bound of sup over frequencies of sum_f w_f |H_f|^2.

    It is at least the supremum in exact arithmetic, and exceeds it by at most 3.2e-4 of it.

    Parameters
    ----------
    filters
        (n, k, k), real; each number is taken as it is.
    weights
        (n,), w_f, finite and at least 0; None stands for 1.

    Raises
    ------
    ShapeError
        If the shapes differ from these.
    UsageError
        If a number is not finite or does not fit into single precision, or a weight is negative.
    """
    h, w = _checked(filters, weights)
    count, size, _ = h.shape
    if count == 0 or not h.any() or not w.any():
        return 0.0
    degree = size - 1
    points = max(1, _POINTS_PER_DEGREE * degree)
    largest = float(_values(_correlation(h, w), points).max())
    # sum_f w_f (sum |h_f|)^2 bounds the sum of the moduli of all terms of the polynomial.
    moduli = float((w * np.abs(h).sum((1, 2)) ** 2).sum())
    error = _rounding(count, size) * moduli + 1e-300
    angle = Fraction(22, 7) * degree / (2 * points)
    return float_above((Fraction(largest) + Fraction(error)) / (1 - angle**2) ** 2)


def scaled(filters: Array, limit: float = 2.0) -> NDArray[np.float32]:
    """Return the filters, multiplied by one number, with a proven squared norm of at most limit.

    Filters (n, k, k) whose norm is small enough come back as they are; others lose at most 4e-4 of
    what the limit allows.

    Raises
    ------
    UsageError
        If the limit is not positive.
    """
    if not limit > 0:
        raise UsageError(
            f"limit is {limit}; the norm of filters can be limited to positive numbers"
        )
    result = np.asarray(filters, dtype=np.float32)
    norm, share = squared_norm(result), 1.0
    while norm > limit:
        # Rounded to single precision the filters may be longer than before.
        share *= 1 - 1e-7
        factor = share * math.sqrt(limit / norm)
        result = (result.astype(np.float64) * factor).astype(np.float32)
        norm = squared_norm(result)
    return result


def _checked(filters: Array, weights: Array | None) -> tuple[Array, Array]:
    h = np.asarray(filters, dtype=np.float64)
    if h.ndim != 3 or h.shape[1] != h.shape[2] or h.shape[1] == 0:
        raise ShapeError(f"filters have shape {h.shape}; they must be (n, k, k)")
    w = np.ones(len(h)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(h),):
        raise ShapeError(f"weights have shape {w.shape}; they must be ({len(h)},), one per filter")
    # Larger numbers could overflow where they are squared; nan fails the comparison.
    greatest = float(np.finfo(np.float32).max)
    if not (np.abs(h) <= greatest).all() or not (np.abs(w) <= greatest).all():
        raise UsageError("filters or weights are not finite in single precision; train them again")
    if (w < 0).any():
        raise UsageError(f"a weight of a filter is {w.min()}; it must be at least 0")
    return h, w


def _correlation(h: Array, w: Array) -> Array:
    """Return the weighted sum of autocorrelations, (2 k - 1, 2 k - 1), shift 0 in the middle."""
    count, size, _ = h.shape
    flat = h.reshape(count, -1)
    gram = ((flat * w[:, None]).T @ flat).reshape(size, size, size, size)
    place = np.arange(size)
    shift = place[None, :] - place[:, None] + size - 1
    width = 2 * size - 1
    index = shift[:, None, :, None] * width + shift[None, :, None, :]
    sums = np.bincount(index.ravel(), weights=gram.ravel(), minlength=width**2)
    return sums.astype(np.float64).reshape(width, width)


def _values(correlation: Array, points: int) -> Array:
    """Return the polynomial's values on the upper half of the grid; the lower half has the same.

    R(-a, -b) = R(a, b), so that the terms of a and -a together are
    2 sum_b R(a, b) (cos(a u) cos(b v) - sin(a u) sin(b v)).
    """
    degree = len(correlation) // 2
    cosines, sines = _table(points)
    shifts, grid = np.arange(-degree, degree + 1), np.arange(points)
    column = np.outer(shifts, grid) % points
    row = np.outer(grid[: points // 2 + 1], shifts[degree:]) % points
    half = correlation[degree:] * np.where(shifts[degree:] == 0, 1.0, 2.0)[:, None]
    left = np.concatenate([cosines[row], -sines[row]], axis=1)
    right = np.concatenate([half @ cosines[column], half @ sines[column]])
    return left @ right


def _rounding(count: int, size: int) -> float:
    """Return a bound of the rounding error of a value, relative to the sum of moduli.

    Every term w h h' of a value goes through at most count + 1 operations in the Gram matrix,
    size^2 additions of its entries, one doubling, 2 size products and sums over the columns and as
    many over the rows, and through two entries of the table, off by 2 u at most. It occurs twice,
    with cosines and with sines. One part in ten covers products of errors.
    """
    operations = count + size**2 + 8 * size + 16
    return 1.1 * 2 * operations * _UNIT_ROUNDOFF


@functools.lru_cache(maxsize=8)
def _table(points: int) -> tuple[Array, Array]:
    """Return cos and sin of 2 pi j / points for j = 0..points-1, proven to be within 2^-52.

    One turn after the other in integers of 96 bits after the point, whose error grows by less than
    2^-93 with every turn.
    """
    one = 1 << _BITS
    angle = 2 * _PI / points
    step = _cosine_and_sine(angle, one) if points > 1 else (one, 0)
    cosine, sine, cosines, sines = one, 0, [], []
    for _ in range(points):
        cosines.append(cosine / one)
        sines.append(sine / one)
        cosine, sine = (
            (cosine * step[0] - sine * step[1]) >> _BITS,
            (sine * step[0] + cosine * step[1]) >> _BITS,
        )
    return np.array(cosines), np.array(sines)


def _cosine_and_sine(angle: Fraction, one: int) -> tuple[int, int]:
    """Return cos and sin of an angle below 1 in units of 1 / one, from their Taylor series."""
    term, sums = Fraction(1), [Fraction(0), Fraction(0)]
    for order in range(40):
        sums[order % 2] += term * (-1) ** (order // 2)
        term *= angle / (order + 1)
    return int(sums[0] * one), int(sums[1] * one)
