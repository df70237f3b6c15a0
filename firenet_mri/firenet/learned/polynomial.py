"""Constants of polynomial data steps, proven in rational arithmetic.

A step x + p(N) (A^H y - N x) with N = A^H A, ||A|| <= 1 and p(t) = sum_i c_i t^i changes by d'
where x changes by d and y by e, and for all A together

    ||d'||^2 <= ||d||^2 + m ||e||^2   if and only if   p >= 0 and p (1 + m t) <= 2 m on [0, 1]

(docs/theory.md, section 3.9). The least such m is the maximum of p / (2 - t p). From x = 0, where
d = 0, the maximum of t p^2 suffices. The coefficients are taken as exact rational numbers, and a
polynomial is proven to be nonnegative by its Bernstein coefficients [1]: it lies between the least
and the largest of them, and those of the halves of an interval lie closer to it.

[1] R. T. Farouki, The Bernstein polynomial basis: a centennial retrospective, 2012.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from firenet_mri.errors import UsageError
from firenet_mri.firenet.rational import float_above

Polynomial = tuple[Fraction, ...]
"""Coefficients of 1, t, t^2, ..."""

# A constant is at most this much, relatively, above the least one.
TOLERANCE = Fraction(1, 10**6)

# Steps with t p(t) above 2 minus this are refused: their constant would be a million or more.
_ROOM = Fraction(1, 2**20)

# Halvings of the interval: beyond these a polynomial is too close to 0 for a proof.
_DEEPEST = 60

_GRID = 2**12

_MOST_COEFFICIENTS = 32


def step_constant(coefficients: Sequence[float]) -> float:
    """Return the proven m of a step, at most a millionth above the least one.

    Parameters
    ----------
    coefficients
        c_0, c_1, ..., each taken as the rational number that it is; none is p = 0, with m = 0.

    Raises
    ------
    UsageError
        If p is negative or t p(t) reaches 2 in [0, 1], a coefficient is not finite, or there are
        more than 32.
    """
    p = _admissible(coefficients)
    return _largest_ratio(p, _minus((Fraction(2),), _shifted(p)))


def first_step_constant(coefficients: Sequence[float]) -> float:
    """Return the proven m of a step from the image 0: the maximum of t p(t)^2, which is smaller.

    Parameters and errors are those of :func:`step_constant`.
    """
    p = _admissible(coefficients)
    return _largest_ratio(_shifted(_product(p, p)), (Fraction(1),))


def proves_step(coefficients: Sequence[float], m: float | Fraction) -> bool:
    """Return True if m is proven to be a constant of the step: 0 <= p, p (1 + m t) <= 2 m."""
    p, m = _exact(coefficients), Fraction(m)
    slack = _minus((2 * m,), _product(p, (Fraction(1), m)))
    return m >= 0 and _unproven_point(p) is None and _unproven_point(slack) is None


def proves_first_step(coefficients: Sequence[float], m: float | Fraction) -> bool:
    """Return True if m is proven to be a constant of the step from the image 0: t p^2 <= m."""
    p = _exact(coefficients)
    return _unproven_point(_minus((Fraction(m),), _shifted(_product(p, p)))) is None


def _admissible(coefficients: Sequence[float]) -> Polynomial:
    """Return p if it is proven that 0 <= p and t p < 2."""
    p = _exact(coefficients)
    point = _unproven_point(p)
    if point is not None:
        raise UsageError(
            f"the polynomial of a data step is {float(_value(p, point)):.3g} at t = "
            f"{float(point):.6g}; it must be proven to be at least 0 on [0, 1], so raise it there"
        )
    point = _unproven_point(_minus((2 - _ROOM,), _shifted(p)))
    if point is not None:
        raise UsageError(
            f"t p(t) of a data step is {float(point * _value(p, point)):.6g} at t = "
            f"{float(point):.6g}; it must stay below 2 on [0, 1], so take a smaller step"
        )
    return p


def _exact(coefficients: Sequence[float]) -> Polynomial:
    if len(coefficients) > _MOST_COEFFICIENTS:
        raise UsageError(
            f"a data step has {len(coefficients)} coefficients; at most {_MOST_COEFFICIENTS} are "
            "allowed, so use a polynomial of lower degree"
        )
    if not all(math.isfinite(c) for c in coefficients):
        raise UsageError("a data step has coefficients that are not finite; train it again")
    return tuple(Fraction(float(c)) for c in coefficients) or (Fraction(0),)


def _largest_ratio(numerator: Polynomial, denominator: Polynomial) -> float:
    """Return m, proven to be at least the maximum of numerator / denominator > 0 over [0, 1].

    m stays within the tolerance of a value of the ratio, and so of the maximum: a point where m is
    too small gives the next value.
    """
    t = np.arange(_GRID + 1) / _GRID
    with np.errstate(all="ignore"):
        values = _in_floating_point(numerator, t) / _in_floating_point(denominator, t)
    point: Fraction | None = Fraction(int(values.argmax()), _GRID)
    m = -1.0
    while point is not None:
        ratio = _value(numerator, point) / _value(denominator, point)
        if ratio <= m:
            raise UsageError(
                f"the constant {m:.9g} of a data step cannot be proven near t = "
                f"{float(point):.6g}; use a polynomial of lower degree"
            )
        m = float_above(ratio * (1 + TOLERANCE / 2))
        slack = _minus(tuple(Fraction(m) * c for c in denominator), numerator)
        point = _unproven_point(slack)
    return m


def _unproven_point(polynomial: Polynomial) -> Fraction | None:
    """Return None if the polynomial is proven to be nonnegative on [0, 1].

    Otherwise a point where it is negative, or so near to 0 that its sign is not proven.
    """
    pending = [(_bernstein(polynomial), Fraction(0), 0)]
    while pending:
        coefficients, begin, depth = pending.pop()
        if min(coefficients) >= 0:
            continue
        width = Fraction(1, 2**depth)
        if coefficients[0] < 0 or depth == _DEEPEST:
            return begin
        if coefficients[-1] < 0:
            return begin + width
        left, right = _halves(coefficients)
        pending.append((right, begin + width / 2, depth + 1))
        pending.append((left, begin, depth + 1))
    return None


def _bernstein(polynomial: Polynomial) -> list[int]:
    """Return positive multiples of the Bernstein coefficients on [0, 1]; ends are end values."""
    degree = len(polynomial) - 1
    exact = [
        sum(Fraction(math.comb(j, i), math.comb(degree, i)) * polynomial[i] for i in range(j + 1))
        for j in range(degree + 1)
    ]
    unit = math.lcm(*(Fraction(value).denominator for value in exact))
    return [int(value * unit) for value in exact]


def _halves(coefficients: list[int]) -> tuple[list[int], list[int]]:
    """Return multiples of the Bernstein coefficients on both halves (de Casteljau)."""
    degree = len(coefficients) - 1
    row, left, right = coefficients, [], []
    for level in range(degree + 1):
        left.append(row[0] << (degree - level))
        right.append(row[-1] << (degree - level))
        row = [a + b for a, b in itertools.pairwise(row)]
    return left, right[::-1]


def _value(polynomial: Polynomial, t: Fraction) -> Fraction:
    result = Fraction(0)
    for c in reversed(polynomial):
        result = result * t + c
    return result


def _in_floating_point(polynomial: Polynomial, t: np.ndarray) -> np.ndarray:
    return np.polynomial.polynomial.polyval(t, [float(c) for c in polynomial])


def _shifted(p: Polynomial) -> Polynomial:
    """Return t p(t)."""
    return (Fraction(0), *p)


def _minus(p: Polynomial, q: Polynomial) -> Polynomial:
    size = max(len(p), len(q))
    zeros = (Fraction(0),) * size
    pairs = zip((*p, *zeros)[:size], (*q, *zeros)[:size], strict=True)
    return tuple(a - b for a, b in pairs)


def _product(p: Polynomial, q: Polynomial) -> Polynomial:
    result = [Fraction(0)] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            result[i + j] += a * b
    return tuple(result)
