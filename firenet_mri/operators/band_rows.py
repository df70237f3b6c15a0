"""Loops from rows of an image to a row of a frame's bands and back, compiled by ``kernels``.

Band k2 K + k1 of a frame with K filters is sum over s, t of filters[k1, s] filters[k2, t]
x[y + s, n + t], indices modulo the size. For one row y of the bands, the sums over s are computed
first (``across_rows``). The first columns are then repeated after the last, so that the sum over t
needs no modulo (``add_shifted``). The way back is the transpose, step by step: ``spread_shifted``,
``fold_columns`` and ``add_row``, or ``add_rows`` where planes are stored apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Number = float | np.floating[Any]


def across_rows(lines: Array, y: int, filters: Array, ahead: Array) -> None:
    """Set ahead[p, k, n] to sum over s of filters[k, s] lines[p, y + s, n].

    Parameters
    ----------
    lines
        (planes, m, nx), rows modulo m.
    filters
        (K, taps).
    ahead
        (planes, K, nx + taps - 1), columns modulo nx.
    """
    planes, size, nx = lines.shape
    count, taps = filters.shape
    ahead[:] = 0
    for p in range(planes):
        for k in range(count):
            target = ahead[p, k]
            for s in range(taps):
                g, line = filters[k, s], lines[p, (y + s) % size]
                for n in range(nx):
                    target[n] += g * line[n]
            for n in range(nx, target.size):
                target[n] = target[n - nx]


def add_shifted(row: Array, factor: Number, taps: Array, source: Array) -> None:
    """Add factor * sum over t of taps[t] source[n + t] to row[n].

    Parameters
    ----------
    row
        (nx).
    taps
        (taps).
    source
        (nx + taps - 1).
    """
    for t in range(taps.size):
        g, shifted = factor * taps[t], source[t : t + row.size]
        for n in range(row.size):
            row[n] += g * shifted[n]


def spread_shifted(row: Array, factor: Number, taps: Array, target: Array) -> None:
    """Add factor * taps[t] row[n] to target[n + t] for all t, the transpose of ``add_shifted``.

    ``target`` has the shape of ``source`` in ``add_shifted``.
    """
    for t in range(taps.size):
        g, shifted = factor * taps[t], target[t : t + row.size]
        for n in range(row.size):
            shifted[n] += g * row[n]


def fold_columns(back: Array, nx: int) -> None:
    """Add the columns of back after the last to the first; back is (planes, K, nx + reach)."""
    for p in range(back.shape[0]):
        for k in range(back.shape[1]):
            row = back[p, k]
            for n in range(nx, row.size):
                row[n - nx] += row[n]


def add_row(back: Array, factor: Number, taps: Array, row: Array) -> None:
    """Add factor * sum over k of taps[k] back[p, k, n] to row[p, n].

    Parameters
    ----------
    back
        (planes, K, nx + reach), its columns folded.
    taps
        (K), the tap of every filter that contributes to this row.
    row
        (planes, nx).
    """
    for p in range(back.shape[0]):
        target = row[p]
        for k in range(taps.size):
            g, source = factor * taps[k], back[p, k]
            for n in range(target.size):
                target[n] += g * source[n]


def add_rows(back: Array, filters: Array, y: int, last: int, image: Array, border: Array) -> None:
    """Add to image rows y, y + 1, ... the contributions of row y of the bands.

    Parameters
    ----------
    back
        (planes, K, nx + taps - 1), columns not folded yet.
    filters
        (K, taps).
    last
        Rows from this one on belong to the border.
    image
        (ny, planes * nx); each row holds the row of one plane after that of the other.
    border
        (taps - 1 or more, planes * nx).
    """
    planes, taps = back.shape[0], filters.shape[1]
    nx = image.shape[1] // planes
    one = image.dtype.type(1)
    fold_columns(back, nx)
    for s in range(taps):
        row = image[y + s] if y + s < last else border[y + s - last]
        add_row(back, one, filters[:, s], row.reshape(planes, nx))


def copy_row(row: Array, target: Array) -> None:
    """Set target to row; numba takes more than a second to compile target[:] = row."""
    for n in range(row.size):
        target[n] = row[n]


def relax(row: Array, before: Array, relaxation: float) -> None:
    """Set row to before + relaxation (row - before); both are (nx)."""
    for n in range(row.size):
        row[n] = before[n] + relaxation * (row[n] - before[n])
