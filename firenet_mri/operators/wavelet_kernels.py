"""Orthogonal wavelets and their thresholds, compiled by numba, see ``kernels``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.operators.band_rows import copy_row

Array = NDArray[np.floating[Any]]


def shrink(values: Array, weights: Array, length: float, parts: int) -> None:
    """Overwrite every number with max(|c| - length * weight, 0) c / |c|.

    Parameters
    ----------
    values
        (parts * n): ``parts`` 2 for complex numbers, 1 for real ones.
    weights
        (1 or n).
    """
    for i in range(values.size // parts):
        limit = length * (weights[i] if weights.size > 1 else weights[0])
        square = values[parts * i] ** 2
        if parts == 2:
            square += values[2 * i + 1] ** 2
        factor = 1 - limit / np.sqrt(square) if square > limit * limit else square * 0
        for part in range(parts):
            values[parts * i + part] *= factor


def split(x: Array, low: Array, high: Array, out: Array) -> None:
    """Set out to averages, then details, of x along the middle axis, see ``FilterBank``.

    Parameters
    ----------
    x, out
        (before, n, after).
    low, high
        The filters.
    """
    size, after = x.shape[1:]
    half, taps = size // 2, low.size
    even = 2 * half
    # In the interior no source lies beyond the ends.
    first, last = taps // 4, half - taps // 4
    for b in range(x.shape[0]):
        if after == 2:
            for row in range(half):
                is_inside = first <= row < last
                average_re = average_im = detail_re = detail_im = x[b, 0, 0] * 0
                for tap in range(taps):
                    source = 2 * row + taps // 2 - tap
                    if not is_inside:
                        source %= even
                    re, im = x[b, source, 0], x[b, source, 1]
                    average_re += low[tap] * re
                    average_im += low[tap] * im
                    detail_re += high[tap] * re
                    detail_im += high[tap] * im
                out[b, row, 0], out[b, row, 1] = average_re, average_im
                detail = size - half + row
                out[b, detail, 0], out[b, detail, 1] = detail_re, detail_im
        else:
            out[b] = 0
            for row in range(half):
                for tap in range(taps):
                    source = (2 * row + taps // 2 - tap) % even
                    for i in range(after):
                        out[b, row, i] += low[tap] * x[b, source, i]
                        out[b, size - half + row, i] += high[tap] * x[b, source, i]
        if size > even:
            copy_row(x[b, even], out[b, half])


def merge(x: Array, low: Array, high: Array, out: Array) -> None:
    """Set out to the signal of averages and details x: the adjoint of ``split``."""
    size, after = x.shape[1:]
    half, taps = size // 2, low.size
    even = 2 * half
    first, last = taps // 4, half - taps // 4
    out[:] = 0
    for b in range(x.shape[0]):
        for row in range(half):
            is_inside = first <= row < last
            detail = size - half + row
            if after == 2:
                average_re, average_im = x[b, row, 0], x[b, row, 1]
                detail_re, detail_im = x[b, detail, 0], x[b, detail, 1]
                for tap in range(taps):
                    target = 2 * row + taps // 2 - tap
                    if not is_inside:
                        target %= even
                    out[b, target, 0] += low[tap] * average_re + high[tap] * detail_re
                    out[b, target, 1] += low[tap] * average_im + high[tap] * detail_im
            else:
                for tap in range(taps):
                    target = (2 * row + taps // 2 - tap) % even
                    for i in range(after):
                        value = low[tap] * x[b, row, i] + high[tap] * x[b, detail, i]
                        out[b, target, i] += value
        if size > even:
            out[b, even] = x[b, half]


def split_rows(
    x: Array,
    shape: tuple[int, int],
    shift: tuple[int, int],
    rows: tuple[int, int],
    low: Array,
    high: Array,
    parts: int,
    shrinkage: tuple[float, bool],
    weights: Array,
    out: Array,
) -> None:
    """Compute a level of a 2D wavelet for some rows of averages, with their details.

    Parameters
    ----------
    x
        At least (ny, parts * nx), of which the leading corner is used; ``parts`` is 2 for complex
        numbers, 1 for real ones.
    shape
        ny, nx.
    shift
        Number of rows and columns by which x is first shifted, 0 or more, less than its size.
    rows
        First and last + 1 of the rows of averages; the last of all is the odd row, if there is one.
    low, high
        The filters.
    shrinkage
        Length of a soft threshold of the details, and whether to threshold the averages, too.
    weights
        Factors of the lengths, (1, 1) or at least (ny, nx).
    out
        (ny, parts * nx).
    """
    ny, nx = shape
    half, side, taps = ny // 2, nx // 2, low.size
    middle = taps // 2
    length, is_last = shrinkage
    limits = np.full(nx, length * weights[0, 0], out.dtype)
    lines = np.empty((2, parts * nx), out.dtype)
    moved = np.empty(parts * nx, out.dtype)
    even = np.empty(parts * (side + 2 * middle), out.dtype)
    odd = np.empty(parts * (side + 2 * middle), out.dtype)
    for r in range(rows[0], rows[1]):
        if r < half:
            lines[:] = 0
            for tap in range(taps):
                source = x[((2 * r + middle - tap) % (2 * half) - shift[0]) % ny]
                spread(source, low[tap], high[tap], lines[0], lines[1])
        else:
            copy_row(x[(ny - 1 - shift[0]) % ny, : parts * nx], lines[0])
        for b in range(2 if r < half else 1):
            line, row = lines[b], r if b == 0 else ny - half + r
            if shift[1] > 0:
                kept = parts * (nx - shift[1])
                copy_row(line[:kept], moved[parts * nx - kept :])
                copy_row(line[kept:], moved[: parts * nx - kept])
                line = moved
            target = out[row]
            part_phases(line, parts, middle, even, odd)
            average = target[: parts * side]
            detail = target[parts * (nx - side) : parts * nx]
            average[:] = 0
            detail[:] = 0
            for tap in range(taps):
                begin = parts * (middle + (middle - tap) // 2)
                phase = even if (middle - tap) % 2 == 0 else odd
                source = phase[begin : begin + parts * side]
                spread(source, low[tap], high[tap], average, detail)
            if nx > 2 * side:
                for p in range(parts):
                    target[parts * side + p] = line[parts * (nx - 1) + p]
            if length > 0:
                first = 0 if is_last or b == 1 else nx - side
                # Slices, since an index that may be negative prevents vector instructions.
                numbers, limit = target[parts * first : parts * nx], limits[first:nx]
                if weights.size > 1:
                    factors = weights[row, first:nx]
                    for i in range(nx - first):
                        limit[i] = length * factors[i]
                shrink_row(numbers, limit, parts)


def spread(source: Array, low: float, high: float, average: Array, detail: Array) -> None:
    """Add a row, times one tap of each filter, to averages and details."""
    for i in range(average.size):
        average[i] += low * source[i]
        detail[i] += high * source[i]


def gather(average: Array, detail: Array, low: float, high: float, target: Array) -> None:
    """Add averages and details, times one tap of each filter, to a row: the adjoint of spread."""
    for i in range(target.size):
        target[i] += low * average[i] + high * detail[i]


def part_phases(line: Array, parts: int, middle: int, even: Array, odd: Array) -> None:
    """Set even and odd to every second number, padded periodically by ``middle`` at each end."""
    side = even.size // parts - 2 * middle
    here = even[parts * middle : parts * (middle + side)]
    next_to = odd[parts * middle : parts * (middle + side)]
    if parts == 2:
        for i in range(side):
            here[2 * i], here[2 * i + 1] = line[4 * i], line[4 * i + 1]
            next_to[2 * i], next_to[2 * i + 1] = line[4 * i + 2], line[4 * i + 3]
    else:
        for i in range(side):
            here[i], next_to[i] = line[2 * i], line[2 * i + 1]
    pad_ends(even, parts, middle)
    pad_ends(odd, parts, middle)


def join_phases(even: Array, odd: Array, parts: int, line: Array) -> None:
    """Set the numbers of a line alternately to those of even and odd."""
    if parts == 2:
        for i in range(even.size // 2):
            line[4 * i], line[4 * i + 1] = even[2 * i], even[2 * i + 1]
            line[4 * i + 2], line[4 * i + 3] = odd[2 * i], odd[2 * i + 1]
    else:
        for i in range(even.size):
            line[2 * i], line[2 * i + 1] = even[i], odd[i]


def pad_ends(padded: Array, parts: int, middle: int) -> None:
    """Continue the interior periodically by ``middle`` numbers at each end."""
    side = padded.size // parts - 2 * middle
    for i in range(middle):
        before, after = middle + (i - middle) % side, middle + i % side
        for p in range(parts):
            padded[parts * i + p] = padded[parts * before + p]
            padded[parts * (middle + side + i) + p] = padded[parts * after + p]


def shrink_row(numbers: Array, limit: Array, parts: int) -> None:
    """Overwrite every number c with max(|c| - limit, 0) c / |c|."""
    # This avoids division by zero where a limit and a number are 0.
    tiny = np.finfo(numbers.dtype).tiny
    # An integer would promote single to double precision.
    unit = numbers.dtype.type(1)
    if parts == 2:
        for i in range(limit.size):
            re, im = numbers[2 * i], numbers[2 * i + 1]
            size = max(math.sqrt(re * re + im * im), limit[i])
            factor = unit - limit[i] / max(size, tiny)
            numbers[2 * i] = factor * re
            numbers[2 * i + 1] = factor * im
    else:
        for i in range(limit.size):
            size = max(abs(numbers[i]), limit[i])
            numbers[i] *= unit - limit[i] / max(size, tiny)


def merge_rows(
    c: Array,
    shape: tuple[int, int],
    shift: tuple[int, int],
    rows: tuple[int, int],
    low: Array,
    high: Array,
    parts: int,
    out: Array,
) -> None:
    """Compute the image's rows from some rows of averages: the adjoint of ``split_rows``.

    Parameters
    ----------
    c
        At least (ny, parts * nx), of which the leading corner is used.
    shape
        ny, nx.
    shift
        Number of rows and columns by which out is shifted back at the end.
    rows
        First and last + 1 of the rows of averages.
    low, high
        The filters.
    parts
        2 for complex numbers, 1 for real ones.
    out
        At least (ny, parts * nx), of which the leading corner is written.
    """
    ny, nx = shape
    half, side, taps = ny // 2, nx // 2, low.size
    middle = taps // 2
    least, most = (middle - taps + 1) // 2, middle // 2
    window = most - least + 1
    lines = np.empty((window, 2, parts * nx), out.dtype)
    pads = np.empty((2, parts * (side + 2 * middle)), out.dtype)
    phases = np.empty((2, parts * side), out.dtype)
    target = np.empty(parts * nx, out.dtype)
    last = min(rows[1], half)
    # The odd row follows the last averages.
    extra = 1 if rows[1] > half else 0
    for step in range(rows[0] - most, last - least + extra):
        is_odd_row = step == last - least
        for b in range(1 if is_odd_row else 2):
            row = half if is_odd_row else step % half + b * (ny - half)
            source, line = c[row], lines[step % window, b]
            for band in range(2):
                start = parts * (nx - side) * band
                pads[band, parts * middle : parts * (middle + side)] = source[
                    start : start + parts * side
                ]
                pad_ends(pads[band], parts, middle)
            phases[:] = 0
            for tap in range(taps):
                begin = parts * (middle - (middle - tap) // 2)
                a = pads[0, begin : begin + parts * side]
                d = pads[1, begin : begin + parts * side]
                gather(a, d, low[tap], high[tap], phases[(middle - tap) % 2])
            join_phases(phases[0], phases[1], parts, line)
            if nx > 2 * side:
                for p in range(parts):
                    line[parts * (nx - 1) + p] = source[parts * side + p]
        r = step + least
        if r < rows[0]:
            continue
        for phase in range(1 if is_odd_row else 2):
            target.fill(0)
            for tap in range(taps):
                if (middle - tap) % 2 == phase and not is_odd_row:
                    pair = lines[(r - (middle - tap) // 2) % window]
                    gather(pair[0], pair[1], low[tap], high[tap], target)
            if is_odd_row:
                copy_row(lines[step % window, 0], target)
            row = (ny - 1 if is_odd_row else 2 * r + phase) - shift[0]
            kept = parts * (nx - shift[1])
            copy_row(target[parts * nx - kept :], out[row % ny, :kept])
            copy_row(target[: parts * nx - kept], out[row % ny, kept : parts * nx])


def split_planes(
    x: Array,
    shape: tuple[int, int, int],
    shift: int,
    r: int,
    low: Array,
    high: Array,
    parts: int,
    out: Array,
) -> None:
    """Compute a level along the first of three axes for one plane of averages.

    Parameters
    ----------
    x
        At least (nz, ny, parts * nx), of which the leading corner is used.
    shape
        nz, ny, nx.
    shift
        Number of planes by which x is first shifted.
    r
        Index of the plane of averages; the last is the odd plane, if there is one.
    low, high
        The filters.
    parts
        2 for complex numbers, 1 for real ones.
    out
        (2, ny, parts * nx): averages and details; only averages for the odd plane.
    """
    nz, ny, nx = shape
    half, taps = nz // 2, low.size
    for y in range(ny):
        if r == half:
            copy_row(x[(nz - 1 - shift) % nz, y, : parts * nx], out[0, y])
            continue
        a, d = out[0, y, : parts * nx], out[1, y, : parts * nx]
        a[:] = 0
        d[:] = 0
        for tap in range(taps):
            source = x[((2 * r + taps // 2 - tap) % (2 * half) - shift) % nz, y]
            spread(source, low[tap], high[tap], a, d)


def merge_planes(
    c: Array,
    shape: tuple[int, int, int],
    shift: int,
    r: int,
    low: Array,
    high: Array,
    parts: int,
    out: Array,
) -> None:
    """Compute the planes from one plane of averages: the adjoint of ``split_planes``.

    Parameters
    ----------
    c
        (nz, ny, parts * nx).
    shape
        nz, ny, nx.
    shift
        Number of planes by which out is shifted back at the end.
    r
        Index of the plane of averages.
    low, high
        The filters.
    parts
        2 for complex numbers, 1 for real ones.
    out
        At least (nz, ny, parts * nx), of which the leading corner is written.
    """
    nz, ny, nx = shape
    half, middle = nz // 2, low.size // 2
    for phase in range(1 if r == half else 2):
        z = nz - 1 if r == half else 2 * r + phase
        for y in range(ny):
            target = out[(z - shift) % nz, y, : parts * nx]
            if r == half:
                copy_row(c[half, y], target)
                continue
            target[:] = 0
            for tap in range(low.size):
                if (middle - tap) % 2 == phase:
                    plane = (r - (middle - tap) // 2) % half
                    gather(c[plane, y], c[nz - half + plane, y], low[tap], high[tap], target)
