"""The steps between the FFTs of a residual, compiled by numba, see ``kernels``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def expand(maps: Array, image: Array, first: int, row: int, out: Array) -> None:
    """Set out to maps * image for the coils from ``first`` and the rows from ``row`` on.

    Parameters
    ----------
    maps
        (coil, rows, 2 n).
    image
        (rows, 2 n).
    out
        (coils, rows, 2 n) of the block, overwritten.
    """
    for c in range(out.shape[0]):
        for r in range(out.shape[1]):
            s, x, o = maps[first + c, row + r], image[row + r], out[c, r]
            for i in range(x.size // 2):
                a, b, re, im = s[2 * i], s[2 * i + 1], x[2 * i], x[2 * i + 1]
                o[2 * i] = a * re - b * im
                o[2 * i + 1] = a * im + b * re


def subtract_data(kspace: Array, factor: Array, offset: Array, first: int, row: int) -> float:
    """Overwrite kspace with factor * kspace + offset; return the sum of its squares.

    Parameters
    ----------
    kspace
        (coils, rows, 2 n) of the block.
    factor
        (1 or coil, 1 or rows, 2 n).
    offset
        (coil, rows, 2 n).
    """
    total = 0.0
    for c in range(kspace.shape[0]):
        for r in range(kspace.shape[1]):
            k, o = kspace[c, r], offset[first + c, row + r]
            f = factor[
                first + c if factor.shape[0] > 1 else 0, row + r if factor.shape[1] > 1 else 0
            ]
            square = k[0] * 0
            for i in range(k.size):
                value = o[i] + k[i] * f[i]
                k[i] = value
                square += value * value
            total += square
    return total


def subtract_samples(
    kspace: Array,
    factor: Array,
    columns: NDArray[np.uint32],
    starts: NDArray[np.int64],
    values: NDArray[np.complexfloating[Any, Any]],
    first: int,
    row: int,
) -> float:
    """Apply ``subtract_data`` with an offset that is 0 off the samples.

    Parameters
    ----------
    kspace
        (coils, rows, 2 n) of the block.
    factor
        (1, 1 or rows, 2 n).
    columns, starts
        See ``Samples``.
    values
        (coil, samples), the offset.
    """
    total = 0.0
    is_shared = starts.size == 2
    offset = np.zeros(kspace.shape[2] // 2, values.dtype)
    o = offset.view(kspace.dtype)
    for c in range(kspace.shape[0]):
        for r in range(kspace.shape[1]):
            k, f = kspace[c, r], factor[0, 0 if is_shared else row + r]
            begin = starts[0] if is_shared else starts[row + r]
            count = (starts[1] if is_shared else starts[row + r + 1]) - begin
            place = (row + r) * count if is_shared else begin
            where = columns[begin : begin + count]
            value = values[first + c, place : place + count]
            if not is_shared:
                o[:] = 0
            for j in range(count):
                offset[where[j]] = value[j]
            square = k[0] * 0
            for i in range(k.size):
                number = o[i] + k[i] * f[i]
                k[i] = number
                square += number * number
            total += square
    return total


def combine(maps: Array, images: Array, first: int, row: int, sets: bool, out: Array) -> None:
    """Add to out the conjugate of the sum over the block's coils of maps * images.

    Parameters
    ----------
    maps
        (coil, rows, 2 n).
    images
        (coils, rows, 2 n) of the block.
    sets
        Overwrite out instead of adding to it.
    out
        (rows, 2 n).
    """
    for c in range(images.shape[0]):
        for r in range(images.shape[1]):
            s, k, o = maps[first + c, row + r], images[c, r], out[row + r]
            if sets and c == 0:
                for i in range(k.size // 2):
                    a, b, re, im = s[2 * i], s[2 * i + 1], k[2 * i], k[2 * i + 1]
                    o[2 * i] = a * re - b * im
                    o[2 * i + 1] = -(a * im + b * re)
            else:
                for i in range(k.size // 2):
                    a, b, re, im = s[2 * i], s[2 * i + 1], k[2 * i], k[2 * i + 1]
                    o[2 * i] += a * re - b * im
                    o[2 * i + 1] -= a * im + b * re


def add_up(image: Array, other: Array) -> None:
    """Add another image, (rows, n), to an image."""
    for r in range(image.shape[0]):
        first, second = image[r], other[r]
        for i in range(first.size):
            first[i] += second[i]
