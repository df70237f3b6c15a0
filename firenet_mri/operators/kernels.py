"""Passes over memory between the FFTs of a layer, compiled: each reads and writes its arrays once.

On a CPU a pass over all coils takes as long as memory does, and torch needs two for what is one
here. Numba compiles these functions when they are first called and keeps the result on disk. They
take real arrays in which real and imaginary parts alternate, and record no gradients; the callers
have the same in torch, which is what the tests compare with.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.operators.base import records_graph

Array = NDArray[np.floating[Any]]


class Kernels(NamedTuple):
    """The compiled functions, see those of the same names with an underscore below."""

    expand: Callable[..., None]
    subtract_data: Callable[..., float]
    subtract_samples: Callable[..., float]
    combine: Callable[..., None]
    add_up: Callable[..., None]
    shrink: Callable[..., None]
    split: Callable[..., None]
    merge: Callable[..., None]
    frame_step: Callable[..., None]
    frame_slopes: Callable[..., None]
    frame_tangent: Callable[..., None]


def can_compile(*tensors: Tensor) -> bool:
    """Return whether these tensors can go through the compiled functions here and now.

    No where gradients or tangents are recorded, where a graph is traced, and off the CPU.
    """
    if torch.is_grad_enabled() or records_graph():
        return False
    # Forward-mode derivatives are carried without grad mode.
    if torch.autograd.forward_ad._current_level >= 0:
        return False
    return all(type(x) is Tensor and x.device.type == "cpu" for x in tensors) and not _is_wrapped(
        tensors
    )


def _is_wrapped(tensors: tuple[Tensor, ...]) -> bool:
    """Return whether vmap or another function transform looks at one of the tensors."""
    return any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)


def real_array(x: Tensor) -> Array:
    """Return the memory of a complex (..., n) or real contiguous tensor as real (..., 2 n or n)."""
    plain = x.detach()
    return (torch.view_as_real(plain).flatten(-2) if x.is_complex() else plain).numpy()


def shrink_(x: Tensor, lengths: Tensor, weights: Tensor | float) -> None:
    """Overwrite x with its soft threshold at lengths * weights.

    Parameters
    ----------
    x
        Real or complex, contiguous, (*batch, ...).
    lengths
        (*batch), not negative.
    weights
        One number, or something that broadcasts against x.
    """
    array = real_array(x).reshape(lengths.numel(), -1)
    parts = 2 if x.is_complex() else 1
    one = torch.as_tensor(weights, dtype=x.real.dtype)
    is_single = one.numel() == 1
    shape = (1, 1) if is_single else (lengths.numel(), array.shape[1] // parts)
    spread = one.reshape(shape) if is_single else one.expand(x.shape).reshape(shape)
    for i, length in enumerate(lengths.to(x.real.dtype).reshape(-1).numpy()):
        kernels().shrink(array[i], spread[0 if is_single else i].numpy(), length, parts)


def frame_step_(
    q: Tensor,
    x: Tensor,
    lengths: Tensor,
    radii: Tensor,
    filters: Tensor,
    relaxation: float = 1.0,
) -> Tensor:
    """Overwrite q with its projection after a step along W x, and return W^H of it.

    W has one level of separable filters: band k2 K + k1 is sum over s, t of
    filters[k1, s] filters[k2, t] x[m + s, n + t], indices modulo the size.

    Parameters
    ----------
    q
        (planes, *batch, K^2, ny, nx) real, the last two axes contiguous; 1 or 2 planes.
    x
        (planes, *batch, ny, nx) real.
    lengths
        (*batch) step sizes.
    radii
        (1 or K^2) of the discs.
    filters
        (K, taps).
    relaxation
        q moves so many times the way to its projection.
    """
    planes, shape = x.shape[0], x.shape[-2:]
    source = x.reshape(planes, -1, *shape).contiguous()
    image = torch.zeros_like(source)
    items = q.unflatten(0, (planes, 1)) if q.ndim == 4 else q.flatten(1, -4)
    memory = items.as_strided((items.untyped_storage().nbytes() // items.element_size(),), (1,), 0)
    bounds = radii.to(q.dtype).reshape(-1).expand(q.shape[-3]).contiguous().numpy()
    taps = filters.to(q.dtype).numpy()
    steps = lengths.to(q.dtype).reshape(-1).numpy()
    for item, step in enumerate(steps):
        start = items.storage_offset() + item * items.stride(1)
        strides = np.array([items.stride(0), items.stride(2)])
        arrays = memory.numpy(), source[:, item].numpy(), image[:, item].numpy()
        kernels().frame_step(*arrays, start, strides, step, bounds, taps, relaxation)
    return image.reshape(x.shape)


def frame_slopes(q: Tensor, x: Tensor, lengths: Tensor, radii: Tensor, filters: Tensor) -> Tensor:
    """Return the derivative of the projection that ``frame_step_`` makes, and leave q as it is.

    The projection of z on the disc of radius r has at |z| > r the derivative d -> p <p, d> with
    p = (r / |z|)^(1/2) i z / |z|, and 1 inside, which is stored as p = 2.

    Parameters
    ----------
    q
        (item, planes, K^2, ny, nx) real; 1 or 2 planes.
    x
        (item, planes, ny, nx) real.
    lengths, radii, filters
        As :func:`frame_step_` takes them.

    Returns
    -------
    Tensor
        p in planes, of q's shape, in single precision, which halves what every application reads:
        D is symmetric as it is, and differs from the derivative in the seventh digit.
    """
    slopes = torch.empty(q.shape, dtype=torch.float32)
    bounds = radii.to(q.dtype).reshape(-1).expand(q.shape[-3]).contiguous().numpy()
    taps = filters.to(q.dtype).numpy()
    steps = lengths.to(q.dtype).reshape(-1).numpy()
    for before, source, out, step in zip(q, x, slopes, steps, strict=True):
        arrays = (part.contiguous().numpy() for part in (before, source, out))
        kernels().frame_slopes(*arrays, step, bounds, taps)
    return slopes


def frame_tangent_(
    q: Tensor, x: Tensor, lengths: Tensor, slopes: Tensor, filters: Tensor
) -> Tensor:
    """Overwrite q with D (q + lengths W x) for slopes D, and return W^H of it.

    Parameters
    ----------
    q, slopes
        (item, planes, K^2, ny, nx), contiguous; what :func:`frame_slopes` returned.
    x
        (item, planes, ny, nx), contiguous.
    lengths, filters
        As :func:`frame_step_` takes them.
    """
    image = torch.zeros_like(x)
    taps = filters.to(x.dtype).numpy()
    steps = lengths.to(x.dtype).reshape(-1).numpy()
    for *parts, step in zip(q, x, image, slopes, steps, strict=True):
        kernels().frame_tangent(*(part.numpy() for part in parts), step, taps)
    return image


@functools.cache
def kernels() -> Kernels:
    """Return the compiled functions; numba is loaded at the first call."""
    functions = (_expand, _subtract_data, _subtract_samples, _combine, _add_up)
    wavelets = (_shrink, _split, _merge)
    frames = (_frame_step, _frame_slopes, _frame_tangent)
    return Kernels(*(_compile(function) for function in (*functions, *wavelets, *frames)))


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    # Sums may be reordered and products joined, but NaN stays NaN.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    # Without a test for division by zero, which would forbid vector instructions.
    options["error_model"] = "numpy"
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # No folder to keep the result in.
        compiled = numba.njit(**options)(function)
    return compiled


def _expand(maps: Array, image: Array, first: int, row: int, out: Array) -> None:
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


def _subtract_data(kspace: Array, factor: Array, offset: Array, first: int, row: int) -> float:
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


def _subtract_samples(
    kspace: Array,
    columns: NDArray[np.int32],
    starts: NDArray[np.int64],
    scale: float,
    values: Array,
    first: int,
    row: int,
) -> float:
    """Do what ``_subtract_data`` does where factor and offset are 0 off the samples.

    Parameters
    ----------
    kspace
        (coils, rows, 2 n) of the block.
    columns, starts
        See ``Samples``.
    scale
        The factor, negative for imaginary parts.
    values
        (coil, 2 samples), the offset.
    """
    total = 0.0
    is_shared = starts.size == 2
    kept = np.empty(kspace.shape[2], kspace.dtype)
    factor = kspace.dtype.type(scale)
    for c in range(kspace.shape[0]):
        for r in range(kspace.shape[1]):
            k = kspace[c, r]
            begin = starts[0] if is_shared else starts[row + r]
            count = (starts[1] if is_shared else starts[row + r + 1]) - begin
            place = (row + r) * count if is_shared else begin
            where = columns[begin : begin + count]
            value = values[first + c, 2 * place : 2 * (place + count)]
            square = k[0] * 0
            for j in range(count):
                i = 2 * where[j]
                re = value[2 * j] + factor * k[i]
                im = value[2 * j + 1] - factor * k[i + 1]
                kept[2 * j] = re
                kept[2 * j + 1] = im
                square += re * re + im * im
            k[:] = 0
            for j in range(count):
                i = 2 * where[j]
                k[i] = kept[2 * j]
                k[i + 1] = kept[2 * j + 1]
            total += square
    return total


def _combine(maps: Array, images: Array, first: int, row: int, sets: bool, out: Array) -> None:
    """Add to out the conjugate of the sum over the block's coils of maps * images.

    Parameters
    ----------
    maps
        (coil, rows, 2 n).
    images
        (coils, rows, 2 n) of the block.
    sets
        Overwrite out instead.
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


def _add_up(sums: Array) -> None:
    """Add to the first of the images, (group, rows, n), all others."""
    for r in range(sums.shape[1]):
        for group in range(1, sums.shape[0]):
            first, other = sums[0, r], sums[group, r]
            for i in range(first.size):
                first[i] += other[i]


def _shrink(values: Array, weights: Array, length: float, parts: int) -> None:
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


def _split(x: Array, low: Array, high: Array, out: Array) -> None:
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
    # Within, no source lies beyond the ends.
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
            out[b, half] = x[b, even]


def _merge(x: Array, low: Array, high: Array, out: Array) -> None:
    """Set out to the signal of averages and details x: the adjoint of ``_split``."""
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


def _frame_step(
    q: Array,
    x: Array,
    image: Array,
    start: int,
    strides: NDArray[np.int64],
    length: float,
    radii: Array,
    filters: Array,
    relaxation: float,
) -> None:
    """Do what ``frame_step_`` says for one item, row by row; add W^H q to image.

    Parameters
    ----------
    q
        The memory in which the dual lies, of which plane p and band b begin at
        start + p strides[0] + b strides[1].
    x, image
        (planes, ny, nx).
    length
        Step size.
    radii
        (K^2).
    filters
        (K, taps).
    relaxation
        q moves so many times the way to its projection.
    """
    planes, ny, nx = x.shape
    count, taps = filters.shape
    wide = nx + taps - 1
    is_relaxed = relaxation != 1.0
    before = np.empty((planes, nx), x.dtype)
    ahead = np.empty((planes, count, wide), x.dtype)
    back = np.empty((planes, count, wide), x.dtype)
    for y in range(ny):
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
                first = start + band * strides[1] + y * nx
                for p in range(planes):
                    row = q[first + p * strides[0] : first + p * strides[0] + nx]
                    if is_relaxed:
                        before[p] = row
                    for t in range(taps):
                        g, source = length * filters[k2, t], ahead[p, k1, t : t + nx]
                        for n in range(nx):
                            row[n] += g * source[n]
                radius, least = radii[band], radii[band] * radii[band]
                re = q[first : first + nx]
                if planes == 2:
                    im = q[first + strides[0] : first + strides[0] + nx]
                    for n in range(nx):
                        square = re[n] * re[n] + im[n] * im[n]
                        scale = radius / math.sqrt(square if square > least else least)
                        re[n] *= scale
                        im[n] *= scale
                else:
                    for n in range(nx):
                        re[n] = min(max(re[n], -radius), radius)
                for p in range(planes):
                    row = q[first + p * strides[0] : first + p * strides[0] + nx]
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
                source = back[p, k]
                for s in range(taps):
                    g, target = filters[k, s], image[p, (y + s) % ny]
                    for n in range(nx):
                        target[n] += g * source[n]


def _frame_slopes(
    q: Array, x: Array, slopes: Array, length: float, radii: Array, filters: Array
) -> None:
    """Set slopes as ``frame_slopes`` says, for one item.

    Parameters
    ----------
    q, slopes
        (planes, K^2, ny, nx).
    x
        (planes, ny, nx).
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
    for y in range(ny):
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


def _frame_tangent(
    q: Array, x: Array, image: Array, slopes: Array, length: float, filters: Array
) -> None:
    """Do what ``frame_tangent_`` says for one item, row by row; add W^H q to image.

    Parameters
    ----------
    q, slopes
        (planes, K^2, ny, nx).
    x, image
        (planes, ny, nx).
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
    for y in range(ny):
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
                    g, target = filters[k, s], image[p, (y + s) % ny]
                    for n in range(nx):
                        target[n] += g * source[n]
