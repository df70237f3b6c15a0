"""The dual step of coherent groups and its derivative, compiled by numba, see ``kernels``.

At every pixel the 2 x K matrix of a group's real and imaginary parts is rotated into its principal
axes, its two rows are shortened to the radius if they are longer, and it is rotated back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.operators.band_rows import (
    across_rows,
    add_rows,
    add_shifted,
    copy_row,
    relax,
    spread_shifted,
)

Array = NDArray[np.floating[Any]]


def coherent_step(
    q: Array,
    x: Array,
    image: Array,
    border: Array,
    rows: tuple[int, int],
    start: int,
    strides: tuple[int, int],
    length: float,
    radii: Array,
    scales: Array,
    filters: Array,
    groups: NDArray[np.int64],
    relaxation: float,
) -> None:
    """Apply ``coherent_step_`` to some rows of one item.

    Parameters
    ----------
    q
        The memory that holds the dual; plane p and band b begin at
        start + p strides[0] + b strides[1].
    x
        (2, ny, nx).
    image
        (ny, 2 nx), a row of one plane after that of the other; the given rows receive their W^H q.
    border
        (reach, 2 nx), the same for the rows after the given ones.
    rows
        First and last + 1.
    length
        Step size.
    radii, scales
        (K^2).
    filters
        (K, taps).
    groups
        Numbers of successive bands.
    relaxation
        Relaxation factor; 1 moves q exactly to its projection.
    """
    nx = x.shape[2]
    count, taps = filters.shape
    before = np.empty((2, count * count, nx), x.dtype)
    ahead = np.empty((2, count, nx + taps - 1), x.dtype)
    back = np.empty((2, count, nx + taps - 1), x.dtype)
    # Separate arrays for the sums over a group's bands: the compiler knows they are disjoint.
    one, two, cross = np.empty(nx, x.dtype), np.empty(nx, x.dtype), np.empty(nx, x.dtype)
    cos, sin = np.empty(nx, x.dtype), np.empty(nx, x.dtype)
    image[rows[0] : rows[1]] = 0
    border[:] = 0
    for y in range(rows[0], rows[1]):
        across_rows(x, y, filters, ahead)
        back[:] = 0
        last = 0
        for size in groups:
            first, last = last, last + size
            one[:] = 0
            two[:] = 0
            cross[:] = 0
            for b in range(first, last):
                place, g = start + b * strides[1] + y * nx, length * scales[b]
                re, im = q[place : place + nx], q[place + strides[0] : place + strides[0] + nx]
                if relaxation != 1:
                    copy_row(re, before[0, b])
                    copy_row(im, before[1, b])
                add_shifted(re, g, filters[b // count], ahead[0, b % count])
                add_shifted(im, g, filters[b // count], ahead[1, b % count])
                _add_products(re, im, one, two, cross)
            _set_axes(one, two, cross, cos, sin)
            one[:] = 0
            two[:] = 0
            for b in range(first, last):
                place = start + b * strides[1] + y * nx
                re, im = q[place : place + nx], q[place + strides[0] : place + strides[0] + nx]
                _turn(re, im, cos, sin, one, two)
            _set_factors(one, radii[first])
            _set_factors(two, radii[first])
            for b in range(first, last):
                place = start + b * strides[1] + y * nx
                re, im = q[place : place + nx], q[place + strides[0] : place + strides[0] + nx]
                _turn_back(re, im, one, two, cos, sin)
                if relaxation != 1:
                    relax(re, before[0, b], relaxation)
                    relax(im, before[1, b], relaxation)
                spread_shifted(re, scales[b], filters[b // count], back[0, b % count])
                spread_shifted(im, scales[b], filters[b // count], back[1, b % count])
        add_rows(back, filters, y, rows[1], image, border)


def _add_products(re: Array, im: Array, one: Array, two: Array, cross: Array) -> None:
    """Add the squares of re and im to one and two, and their product to cross; all are (nx)."""
    for n in range(re.size):
        one[n] += re[n] * re[n]
        two[n] += im[n] * im[n]
        cross[n] += re[n] * im[n]


def _set_axes(one: Array, two: Array, cross: Array, cos: Array, sin: Array) -> None:
    """Set cosine and sine of the rotation to the principal axes of symmetric 2 x 2 matrices.

    Parameters
    ----------
    one, two, cross
        (nx), both diagonal entries, and the off-diagonal one.
    cos, sin
        (nx).
    """
    for n in range(cos.size):
        total = one[n] + two[n]
        safe = total if total > 0 else total + 1
        half, side = (one[n] - two[n]) / (2 * safe), cross[n] / safe
        large = math.sqrt(half * half + side * side) + abs(half)
        norm = math.sqrt(large * large + side * side)
        is_round = norm == 0
        large = 1.0 if is_round else large / norm
        small = 0.0 if is_round else side / norm
        cos[n] = large if half >= 0 else small
        sin[n] = small if half >= 0 else large


def _turn(re: Array, im: Array, cos: Array, sin: Array, one: Array, two: Array) -> None:
    """Rotate re and im to the principal axes, and add their squares to one and two."""
    for n in range(re.size):
        u = cos[n] * re[n] + sin[n] * im[n]
        v = cos[n] * im[n] - sin[n] * re[n]
        re[n] = u
        im[n] = v
        one[n] += u * u
        two[n] += v * v


def _set_factors(squares: Array, radius: float) -> None:
    """Overwrite squared norms with factors that limit the norms to the radius."""
    least = radius * radius
    for n in range(squares.size):
        squares[n] = radius / math.sqrt(squares[n] if squares[n] > least else least)


def _turn_back(re: Array, im: Array, one: Array, two: Array, cos: Array, sin: Array) -> None:
    """Multiply re by one and im by two, and rotate them back."""
    for n in range(re.size):
        u, v = one[n] * re[n], two[n] * im[n]
        re[n] = cos[n] * u - sin[n] * v
        im[n] = sin[n] * u + cos[n] * v


def coherent_tangent(
    q: Array,
    x: Array,
    image: Array,
    border: Array,
    rows: tuple[int, int],
    slopes: Array,
    numbers: Array,
    length: float,
    scales: Array,
    filters: Array,
    groups: NDArray[np.int64],
) -> None:
    """Apply ``coherent_tangent_`` to some rows of one item.

    Parameters
    ----------
    q, slopes
        (2, K^2, ny, nx).
    x
        (2, ny, nx).
    image, border, rows
        See ``coherent_step``.
    numbers
        (group, 7, ny, nx).
    length
        Step size.
    scales
        (K^2).
    filters
        (K, taps).
    groups
        Numbers of successive bands.
    """
    nx = x.shape[2]
    count, taps = filters.shape
    ahead = np.empty((2, count, nx + taps - 1), x.dtype)
    back = np.empty((2, count, nx + taps - 1), x.dtype)
    sums = np.empty((3, nx), x.dtype)
    image[rows[0] : rows[1]] = 0
    border[:] = 0
    for y in range(rows[0], rows[1]):
        across_rows(x, y, filters, ahead)
        back[:] = 0
        last = 0
        for group in range(groups.size):
            first, last = last, last + groups[group]
            own = numbers[group]
            sums[:] = 0
            for b in range(first, last):
                re, im, g = q[0, b, y], q[1, b, y], length * scales[b]
                add_shifted(re, g, filters[b // count], ahead[0, b % count])
                add_shifted(im, g, filters[b // count], ahead[1, b % count])
                _turn_along(re, im, own, y, slopes[0, b, y], slopes[1, b, y], sums)
            for i in range(3):
                share = own[4 + i, y]
                for n in range(nx):
                    sums[i, n] *= share[n]
            for b in range(first, last):
                re, im = q[0, b, y], q[1, b, y]
                _apply_along(re, im, own, y, slopes[0, b, y], slopes[1, b, y], sums)
                spread_shifted(re, scales[b], filters[b // count], back[0, b % count])
                spread_shifted(im, scales[b], filters[b // count], back[1, b % count])
        add_rows(back, filters, y, rows[1], image, border)


def _turn_along(
    re: Array, im: Array, own: Array, y: int, first: Array, second: Array, sums: Array
) -> None:
    """Rotate re and im to the principal axes, and add their products with the slopes to sums.

    Parameters
    ----------
    re, im, first, second
        (nx).
    own
        (7, ny, nx), numbers of the group, of which row y is used.
    sums
        (3, nx): re with first, im with second, and both crosswise.
    """
    cos, sin = own[0, y], own[1, y]
    one, two, both = sums[0], sums[1], sums[2]
    for n in range(re.size):
        u = cos[n] * re[n] + sin[n] * im[n]
        v = cos[n] * im[n] - sin[n] * re[n]
        re[n] = u
        im[n] = v
        one[n] += u * first[n]
        two[n] += v * second[n]
        both[n] += u * second[n] + v * first[n]


def _apply_along(
    re: Array, im: Array, own: Array, y: int, first: Array, second: Array, sums: Array
) -> None:
    """Set re and im to the derivative of the projection, and rotate them back.

    The arrays are those of ``_turn_along``; sums are its results times the last three numbers.
    """
    cos, sin, share_one, share_two = own[0, y], own[1, y], own[2, y], own[3, y]
    one, two, both = sums[0], sums[1], sums[2]
    for n in range(re.size):
        u = share_one[n] * re[n] + one[n] * first[n] + both[n] * second[n]
        v = share_two[n] * im[n] + two[n] * second[n] + both[n] * first[n]
        re[n] = cos[n] * u - sin[n] * v
        im[n] = sin[n] * u + cos[n] * v
