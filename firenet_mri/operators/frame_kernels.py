"""The dual step of a frame and its derivative, compiled by numba, see ``kernels``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.operators.band_rows import (
    across_rows,
    add_row,
    add_rows,
    add_shifted,
    copy_row,
    fold_columns,
    relax,
    spread_shifted,
)

Array = NDArray[np.floating[Any]]


def frame_step(
    q: Array,
    x: Array,
    image: Array,
    border: Array,
    rows: tuple[int, int, bool],
    start: int,
    strides: tuple[int, int],
    length: float,
    scale: float,
    radii: Array,
    filters: Array,
    relaxation: float,
) -> None:
    """Apply ``frame_steps_`` to one frame and some rows of one item.

    Parameters
    ----------
    q
        The memory that holds the dual; plane p and band b begin at
        start + p strides[0] + b strides[1].
    x
        (ny, nx) real, or (ny, 2 nx) with alternating real and imaginary parts.
    image
        Like x; the given rows receive scale W^H q.
    border
        (reach, nx or 2 nx), the same for the rows after the given ones.
    rows
        First, last + 1, and whether to add to image and border.
    length
        Step size.
    radii
        (K^2).
    filters
        (K, taps).
    relaxation
        Relaxation factor; 1 moves q exactly to its projection.
    """
    ny = x.shape[0]
    first, last, adds = rows
    count, taps = filters.shape
    planes = 2 if strides[0] > 0 else 1
    nx = x.shape[1] // planes
    is_relaxed, one = relaxation != 1, x.dtype.type(1)
    if not adds:
        image[first:last] = 0
        border[:] = 0
    before = np.empty((planes, nx), x.dtype)
    lines = np.empty((planes, taps, nx), x.dtype)
    sums = np.empty((planes, nx), x.dtype)
    ahead = np.empty((planes, count, nx + taps - 1), x.dtype)
    back = np.empty((planes, count, nx + taps - 1), x.dtype)
    for y in range(first - taps + 1, last):
        _load_line(x[(y + taps - 1) % ny], lines, (y + taps - 1) % taps)
        if y < first:
            continue
        across_rows(lines, y, filters, ahead)
        back[:] = 0
        for k2 in range(count):
            for k1 in range(count):
                band = k2 * count + k1
                place = start + band * strides[1] + y * nx
                for p in range(planes):
                    row = q[place + p * strides[0] : place + p * strides[0] + nx]
                    if is_relaxed:
                        copy_row(row, before[p])
                    add_shifted(row, length, filters[k2], ahead[p, k1])
                re = q[place : place + nx]
                if planes == 2:
                    im = q[place + strides[0] : place + strides[0] + nx]
                    _clip_moduli(re, im, radii[band])
                else:
                    _clip_values(re, radii[band])
                for p in range(planes):
                    row = q[place + p * strides[0] : place + p * strides[0] + nx]
                    if is_relaxed:
                        relax(row, before[p], relaxation)
                    spread_shifted(row, one, filters[k2], back[p, k1])
        fold_columns(back, nx)
        for s in range(taps):
            sums[:] = 0
            add_row(back, scale, filters[:, s], sums)
            _add_line(sums, image[y + s] if y + s < last else border[y + s - last])


def _load_line(source: Array, lines: Array, slot: int) -> None:
    """Set lines[:, slot] to a row (planes * nx) whose planes alternate."""
    if lines.shape[0] == 2:
        for n in range(lines.shape[2]):
            lines[0, slot, n] = source[2 * n]
            lines[1, slot, n] = source[2 * n + 1]
    else:
        copy_row(source, lines[0, slot])


def _add_line(sums: Array, out: Array) -> None:
    """Add sums, (planes, nx), to a row (planes * nx) whose planes alternate."""
    if sums.shape[0] == 2:
        for n in range(sums.shape[1]):
            out[2 * n] += sums[0, n]
            out[2 * n + 1] += sums[1, n]
    else:
        for n in range(sums.shape[1]):
            out[n] += sums[0, n]


def _clip_moduli(re: Array, im: Array, radius: float) -> None:
    """Project re + i im on the disc of a radius."""
    least = radius * radius
    for n in range(re.size):
        square = re[n] * re[n] + im[n] * im[n]
        factor = radius / math.sqrt(square if square > least else least)
        re[n] *= factor
        im[n] *= factor


def _clip_values(re: Array, radius: float) -> None:
    """Project real numbers on [-radius, radius]."""
    for n in range(re.size):
        re[n] = min(max(re[n], -radius), radius)


def add_borders(image: Array, borders: Array, ends: NDArray[np.int64]) -> None:
    """Add to the rows of an image the contributions of the blocks before them.

    Parameters
    ----------
    image
        (ny, n).
    borders
        (block, reach, n).
    ends
        (block), the first row after each; the last row is followed by the first.
    """
    for block in range(borders.shape[0]):
        for s in range(borders.shape[1]):
            row, border = image[(ends[block] + s) % image.shape[0]], borders[block, s]
            for i in range(row.size):
                row[i] += border[i]


def frame_slopes(
    q: Array,
    x: Array,
    slopes: Array,
    rows: tuple[int, int],
    length: float,
    radii: Array,
    filters: Array,
) -> None:
    """Set slopes as ``frame_slopes`` does, for some rows of one item.

    Parameters
    ----------
    q, slopes
        (planes, K^2, ny, nx).
    x
        (planes, ny, nx).
    rows
        First and last + 1.
    length
        Step size.
    radii
        (K^2).
    filters
        (K, taps).
    """
    planes, _, nx = x.shape
    count, taps = filters.shape
    ahead = np.empty((planes, count, nx + taps - 1), x.dtype)
    z = np.empty((planes, nx), x.dtype)
    for y in range(rows[0], rows[1]):
        across_rows(x, y, filters, ahead)
        for k2 in range(count):
            for k1 in range(count):
                band = k2 * count + k1
                for p in range(planes):
                    copy_row(q[p, band, y], z[p])
                    add_shifted(z[p], length, filters[k2], ahead[p, k1])
                if planes == 2:
                    _set_slopes(z, radii[band], slopes[0, band, y], slopes[1, band, y])
                else:
                    row = slopes[0, band, y]
                    for n in range(nx):
                        row[n] = 0 if abs(z[0, n]) > radii[band] else 2


def _set_slopes(z: Array, radius: float, first: Array, second: Array) -> None:
    """Set both parts of p, see ``frame_slopes`` of ``frame_passes``, for z (2, nx) in planes."""
    least = radius * radius
    for n in range(z.shape[1]):
        square = z[0, n] * z[0, n] + z[1, n] * z[1, n]
        outside = square > least
        size = math.sqrt(square if outside else least)
        factor = math.sqrt(radius / size) / size
        first[n] = -factor * z[1, n] if outside else 2
        second[n] = factor * z[0, n] if outside else 2


def frame_tangent(
    q: Array,
    x: Array,
    image: Array,
    border: Array,
    rows: tuple[int, int],
    slopes: Array,
    length: float,
    filters: Array,
) -> None:
    """Apply ``frame_tangent_`` to some rows of one item.

    Parameters
    ----------
    q, slopes
        (planes, K^2, ny, nx).
    x
        (planes, ny, nx).
    image
        (ny, planes * nx), the planes' rows side by side; the given rows receive their W^H q.
    border
        (reach, planes * nx), the same for the rows after the given ones.
    rows
        First and last + 1.
    length
        Step size.
    filters
        (K, taps).
    """
    planes, _, nx = x.shape
    count, taps = filters.shape
    one = x.dtype.type(1)
    ahead = np.empty((planes, count, nx + taps - 1), x.dtype)
    back = np.empty((planes, count, nx + taps - 1), x.dtype)
    image[rows[0] : rows[1]] = 0
    border[:] = 0
    for y in range(rows[0], rows[1]):
        across_rows(x, y, filters, ahead)
        back[:] = 0
        for k2 in range(count):
            for k1 in range(count):
                band = k2 * count + k1
                for p in range(planes):
                    add_shifted(q[p, band, y], length, filters[k2], ahead[p, k1])
                re, slope = q[0, band, y], slopes[0, band, y]
                if planes == 2:
                    _apply_slopes(re, q[1, band, y], slope, slopes[1, band, y])
                else:
                    for n in range(nx):
                        re[n] = re[n] if slope[n] > 1.5 else re[n] * 0
                for p in range(planes):
                    spread_shifted(q[p, band, y], one, filters[k2], back[p, k1])
        add_rows(back, filters, y, rows[1], image, border)


def _apply_slopes(re: Array, im: Array, first: Array, second: Array) -> None:
    """Overwrite re + i im with p <p, .>, and keep it where p is 2; all are (nx)."""
    for n in range(re.size):
        a, b = first[n], second[n]
        along = a * re[n] + b * im[n]
        inside = a > 1.5
        re[n] = re[n] if inside else a * along
        im[n] = im[n] if inside else b * along
