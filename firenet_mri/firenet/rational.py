"""Proofs in rational arithmetic that quadratic forms are positive semidefinite.

A matrix S of rational numbers is semidefinite if S - C C^T is diagonally dominant for some matrix C
of rational numbers: then it is a sum of two semidefinite matrices. C is the Cholesky factor of
S - delta I in floating point, rounded; how it was found does not matter for the proof, and no
number grows in the course of it, as numbers do in exact elimination.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from firenet_mri.firenet.monotonicity import Form, UnrolledIteration, Vector, forms

Rows = list[dict[int, Fraction]]
"""A symmetric matrix by its rows, with the numbers that are not zero."""

# Set aside for rounding errors of the factor, where all diagonal entries are near 1.
_DELTA = 1e-12

# Bits of the rounded factor after the point.
_BITS = 64


def proves(iteration: UnrolledIteration, multipliers: Sequence[Fraction], bound: Fraction) -> bool:
    """Return True if the multipliers are proven to prove ||x|| <= bound ||y|| for ||K|| <= 1.

    Parameters
    ----------
    iteration
        The network.
    multipliers
        One number of at least 0 for every pair of its forms.
    bound
        Positive.
    """
    if min(multipliers, default=Fraction(0)) < 0:
        return False
    square = bound**2
    return all(
        is_proven_semidefinite(matrix(form, multipliers, square)) for form in forms(iteration)
    )


def proven_square(iteration: UnrolledIteration, multipliers: Sequence[Fraction]) -> Fraction | None:
    """Return the smallest t^2 that these multipliers prove, exactly; None if they prove nothing.

    By elimination in rational numbers, which grow with every row: for some dozens of layers. The
    matrix of a form without its first row and column must be positive definite; then the least
    square is a Schur complement.
    """
    if min(multipliers, default=Fraction(0)) < 0:
        return None
    largest = Fraction(0)
    for form in forms(iteration):
        rows = matrix(form, multipliers, Fraction(0))
        for pivot in range(form.size - 1, 0, -1):
            diagonal = rows[pivot].get(pivot, Fraction(0))
            if diagonal <= 0:
                return None
            rest = [(i, value) for i, value in rows[pivot].items() if i < pivot and value]
            for i, value in rest:
                factor = value / diagonal
                for j, other in rest:
                    rows[i][j] = rows[i].get(j, Fraction(0)) - factor * other
        largest = max(largest, -rows[0].get(0, Fraction(0)) / form.weight)
    return largest


def round_up(square: Fraction) -> Fraction:
    """Return a number of 4 decimals whose square is at least the given one."""
    units = math.isqrt(math.floor(square * 10**8))
    while Fraction(units, 10**4) ** 2 < square:
        units += 1
    return Fraction(units, 10**4)


def float_above(value: Fraction) -> float:
    """Return the least double that is at least the given number."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def root_above(square: Fraction) -> float:
    """Return a double whose exact square is at least the given number, next to the root."""
    root = math.sqrt(square)
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root


def length_above(*numbers: float) -> float:
    """Return a double not below the root of the sum of the squares of the numbers; inf as it is."""
    if math.inf in numbers:
        return math.inf
    return root_above(sum((Fraction(number) ** 2 for number in numbers), Fraction(0)))


def matrix(form: Form, multipliers: Sequence[Fraction], square: Fraction) -> Rows:
    """Return the matrix of a form for multipliers and t^2."""
    rows: Rows = [{} for _ in range(form.size)]

    def add(factor: Fraction, p: Vector, r: Vector) -> None:
        for i, a in p.items():
            for j, b in r.items():
                value = factor * a * b / 2
                rows[i][j] = rows[i].get(j, Fraction(0)) + value
                rows[j][i] = rows[j].get(i, Fraction(0)) + value

    rows[0][0] = square * form.weight
    add(Fraction(-1), form.output, form.output)
    for multiplier, (p, r) in zip(multipliers, form.pairs, strict=True):
        add(-2 * multiplier, p, r)
    return rows


def is_proven_semidefinite(rows: Rows) -> bool:
    """Return True if the symmetric matrix is proven to be positive semidefinite."""
    diagonal = [row.get(i, Fraction(0)) for i, row in enumerate(rows)]
    if min(diagonal) <= 0:
        return False
    # Powers of two that bring the diagonal near 1.
    units = [_power_of_two(_exponent(value) // -2) for value in diagonal]
    rest = [
        {j: value * units[i] * units[j] for j, value in row.items()} for i, row in enumerate(rows)
    ]
    factor = _rounded_factor(rest)
    if factor is None:
        return False
    square = [dict.fromkeys(row, 0) for row in rest]
    for column in factor:
        for i, a in column:
            for j, b in column:
                square[i][j] = square[i].get(j, 0) + a * b
    one = _power_of_two(-2 * _BITS)
    for row, products in zip(rest, square, strict=True):
        for j, value in products.items():
            row[j] = row.get(j, Fraction(0)) - value * one
    # Twice the diagonal: it is among the row's values.
    return all(2 * row[i] >= sum(map(abs, row.values())) for i, row in enumerate(rest))


def _rounded_factor(rows: Rows) -> list[list[tuple[int, int]]] | None:
    """Return the columns of C in units of 2^-bits; None where the matrix is not definite enough."""
    work = [{j: float(value) for j, value in row.items()} for row in rows]
    columns = []
    # From the last to the first: the data, which meet every dual, come last and fill nothing.
    for pivot in range(len(work) - 1, -1, -1):
        diagonal = work[pivot][pivot] - _DELTA
        if not diagonal > 0:
            return None
        root = math.sqrt(diagonal)
        rest = [(i, value) for i, value in work[pivot].items() if i < pivot]
        for i, value in rest:
            for j, other in rest:
                work[i][j] = work[i].get(j, 0.0) - value / diagonal * other
        column = [(pivot, root), *((i, value / root) for i, value in rest)]
        columns.append([(i, round(math.ldexp(value, _BITS))) for i, value in column])
    return columns


def _exponent(value: Fraction) -> int:
    """Return the exponent of the power of two next to a positive number, within one."""
    return value.numerator.bit_length() - value.denominator.bit_length()


def _power_of_two(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
