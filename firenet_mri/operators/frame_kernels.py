"""The dual step of a frame and its derivative, as numba compiles them, see ``kernels``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Do what ``frame_steps_`` says for one frame and some rows of one item.

    Parameters
    ----------
    q
        The memory in which the dual lies, of which plane p and band b begin at
        start + p strides[0] + b strides[1].
    x
        (ny, nx) real or (ny, 2 nx) with real and imaginary parts in turns.
    image
        Like x; the rows get scale W^H q of the rows.
    border
        (reach, nx or 2 nx), the same for the rows after them.
    rows
        First, last + 1, and whether image and border are added to.
    length
        Step size.
    radii
        (K^2).
    filters
        (K, taps).
    relaxation
        q moves so many times the way to its projection.
    """
    ny = x.shape[0]
    first, last, adds = rows
    count, taps = filters.shape
    planes = 2 if strides[0] > 0 else 1
    nx = x.shape[1] // planes
    wide = nx + taps - 1
    is_relaxed = relaxation != 1
    if not adds:
        image[first:last] = 0
        border[:] = 0
    before = np.empty((planes, nx), x.dtype)
    lines = np.empty((planes, taps, nx), x.dtype)
    sums = np.empty((planes, nx), x.dtype)
    ahead = np.empty((planes, count, wide), x.dtype)
    back = np.empty((planes, count, wide), x.dtype)
    for y in range(first - taps + 1, last):
        source = x[(y + taps - 1) % ny]
        slot = (y + taps - 1) % taps
        if planes == 2:
            for n in range(nx):
                lines[0, slot, n] = source[2 * n]
                lines[1, slot, n] = source[2 * n + 1]
        else:
            lines[0, slot] = source
        if y < first:
            continue
        ahead[:] = 0
        back[:] = 0
        for p in range(planes):
            for k in range(count):
                for s in range(taps):
                    g, line, target = filters[k, s], lines[p, (y + s) % taps], ahead[p, k]
                    for n in range(nx):
                        target[n] += g * line[n]
                for n in range(nx, wide):
                    ahead[p, k, n] = ahead[p, k, n - nx]
        for k2 in range(count):
            for k1 in range(count):
                band = k2 * count + k1
                place = start + band * strides[1] + y * nx
                for p in range(planes):
                    row = q[place + p * strides[0] : place + p * strides[0] + nx]
                    if is_relaxed:
                        before[p] = row
                    for t in range(taps):
                        g, shifted = length * filters[k2, t], ahead[p, k1, t : t + nx]
                        for n in range(nx):
                            row[n] += g * shifted[n]
                radius, least = radii[band], radii[band] * radii[band]
                re = q[place : place + nx]
                if planes == 2:
                    im = q[place + strides[0] : place + strides[0] + nx]
                    for n in range(nx):
                        square = re[n] * re[n] + im[n] * im[n]
                        factor = radius / math.sqrt(square if square > least else least)
                        re[n] *= factor
                        im[n] *= factor
                else:
                    for n in range(nx):
                        re[n] = min(max(re[n], -radius), radius)
                for p in range(planes):
                    row = q[place + p * strides[0] : place + p * strides[0] + nx]
                    if is_relaxed:
                        for n in range(nx):
                            row[n] = before[p, n] + relaxation * (row[n] - before[p, n])
                    for t in range(taps):
                        g, target = filters[k2, t], back[p, k1, t : t + nx]
                        for n in range(nx):
                            target[n] += g * row[n]
        for p in range(planes):
            for k in range(count):
                for n in range(nx, wide):
                    back[p, k, n - nx] += back[p, k, n]
        for s in range(taps):
            sums[:] = 0
            for p in range(planes):
                for k in range(count):
                    g, part, target = scale * filters[k, s], back[p, k], sums[p]
                    for n in range(nx):
                        target[n] += g * part[n]
            out = image[y + s] if y + s < last else border[y + s - last]
            if planes == 2:
                for n in range(nx):
                    out[2 * n] += sums[0, n]
                    out[2 * n + 1] += sums[1, n]
            else:
                for n in range(nx):
                    out[n] += sums[0, n]


def add_borders(image: Array, borders: Array, ends: NDArray[np.int64]) -> None:
    """Add to the rows of an image what blocks of rows before them left over.

    Parameters
    ----------
    image
        (ny, n).
    borders
        (block, reach, n).
    ends
        (block), the first row after each; beyond the last row comes the first again.
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
    """Set slopes as ``frame_slopes`` says, for some rows of one item.

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
    planes, ny, nx = x.shape
    count, taps = filters.shape
    wide = nx + taps - 1
    ahead = np.empty((planes, count, wide), x.dtype)
    z = np.empty((planes, nx), x.dtype)
    for y in range(rows[0], rows[1]):
        ahead[:] = 0
        for p in range(planes):
            for k in range(count):
                for s in range(taps):
                    g, row, target = filters[k, s], x[p, (y + s) % ny], ahead[p, k]
                    for n in range(nx):
                        target[n] += g * row[n]
                for n in range(nx, wide):
                    ahead[p, k, n] = ahead[p, k, n - nx]
        for k2 in range(count):
            for k1 in range(count):
                band = k2 * count + k1
                for p in range(planes):
                    z[p] = q[p, band, y]
                    for t in range(taps):
                        g, source = length * filters[k2, t], ahead[p, k1, t : t + nx]
                        for n in range(nx):
                            z[p, n] += g * source[n]
                radius = radii[band]
                least = radius * radius
                if planes == 2:
                    for n in range(nx):
                        square = z[0, n] * z[0, n] + z[1, n] * z[1, n]
                        outside = square > least
                        size = math.sqrt(square if outside else least)
                        factor = math.sqrt(radius / size) / size
                        slopes[0, band, y, n] = -factor * z[1, n] if outside else 2
                        slopes[1, band, y, n] = factor * z[0, n] if outside else 2
                else:
                    for n in range(nx):
                        slopes[0, band, y, n] = 0 if abs(z[0, n]) > radius else 2


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
    """Do what ``frame_tangent_`` says for some rows of one item.

    Parameters
    ----------
    q, slopes
        (planes, K^2, ny, nx).
    x
        (planes, ny, nx).
    image
        (ny, planes * nx), a row of one plane after that of the other; the rows get W^H q of theirs.
    border
        (reach, planes * nx), the same for the rows after them.
    rows
        First and last + 1.
    length
        Step size.
    filters
        (K, taps).
    """
    planes, ny, nx = x.shape
    count, taps = filters.shape
    wide = nx + taps - 1
    ahead = np.empty((planes, count, wide), x.dtype)
    back = np.empty((planes, count, wide), x.dtype)
    image[rows[0] : rows[1]] = 0
    border[:] = 0
    for y in range(rows[0], rows[1]):
        ahead[:] = 0
        back[:] = 0
        for p in range(planes):
            for k in range(count):
                for s in range(taps):
                    g, row, target = filters[k, s], x[p, (y + s) % ny], ahead[p, k]
                    for n in range(nx):
                        target[n] += g * row[n]
                for n in range(nx, wide):
                    ahead[p, k, n] = ahead[p, k, n - nx]
        for k2 in range(count):
            for k1 in range(count):
                band = k2 * count + k1
                for p in range(planes):
                    row = q[p, band, y]
                    for t in range(taps):
                        g, source = length * filters[k2, t], ahead[p, k1, t : t + nx]
                        for n in range(nx):
                            row[n] += g * source[n]
                re, sre = q[0, band, y], slopes[0, band, y]
                if planes == 2:
                    im, sim = q[1, band, y], slopes[1, band, y]
                    for n in range(nx):
                        a, b = sre[n], sim[n]
                        along = a * re[n] + b * im[n]
                        inside = a > 1.5
                        re[n] = re[n] if inside else a * along
                        im[n] = im[n] if inside else b * along
                else:
                    for n in range(nx):
                        re[n] = re[n] if sre[n] > 1.5 else re[n] * 0
                for p in range(planes):
                    row = q[p, band, y]
                    for t in range(taps):
                        g, target = filters[k2, t], back[p, k1, t : t + nx]
                        for n in range(nx):
                            target[n] += g * row[n]
        for p in range(planes):
            for k in range(count):
                for n in range(nx, wide):
                    back[p, k, n - nx] += back[p, k, n]
                source = back[p, k]
                for s in range(taps):
                    out = image[y + s] if y + s < rows[1] else border[y + s - rows[1]]
                    g, target = filters[k, s], out[p * nx : (p + 1) * nx]
                    for n in range(nx):
                        target[n] += g * source[n]
