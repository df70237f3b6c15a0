"""The dual step of phase-coherent groups, compiled: one pass over the memory of the dual.

It is :func:`firenet_mri.operators.frame_passes.frame_steps_` with another projection: at every
pixel the 2 x K matrix of a group's real and imaginary parts is rotated into its principal axes,
its two rows are made as long as the radius at most, and it is rotated back. The torch version is
:mod:`firenet_mri.operators.spectral_ball`, which has the formulas.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.operators.kernels import Array, _compile


def coherent_step_(
    q: Tensor,
    x: Tensor,
    lengths: Tensor,
    radii: Tensor,
    scales: Tensor,
    filters: Tensor,
    groups: tuple[int, ...],
    relaxation: float = 1.0,
) -> Tensor:
    """Overwrite q with its projection after a step along W x, and return W^H of it.

    Parameters
    ----------
    q
        (2, *batch, K^2, ny, nx) real, the last two axes contiguous.
    x
        (2, *batch, ny, nx) real.
    lengths
        (*batch) step sizes.
    radii
        (1 or K^2), one number for a group.
    scales
        (K^2), one factor a band.
    filters
        (K, taps), see :func:`firenet_mri.operators.frame_passes.frame_steps_`.
    groups
        Numbers of successive bands that make one matrix.
    relaxation
        q moves so many times the way to its projection.
    """
    shape = x.shape[-2:]
    source = x.reshape(2, -1, *shape).contiguous()
    image = torch.zeros_like(source)
    items = q.unflatten(0, (2, 1)) if q.ndim == 4 else q.flatten(1, -4)
    memory = items.as_strided((items.untyped_storage().nbytes() // items.element_size(),), (1,), 0)
    bounds = radii.to(q.dtype).reshape(-1).expand(q.shape[-3]).contiguous().numpy()
    factors = scales.to("cpu", q.dtype).contiguous().numpy()
    taps = filters.to(q.dtype).numpy()
    sizes = np.array(groups)
    for item, step in enumerate(lengths.to(q.dtype).reshape(-1).numpy()):
        start = items.storage_offset() + item * items.stride(1)
        strides = np.array([items.stride(0), items.stride(2)])
        arrays = memory.numpy(), source[:, item].numpy(), image[:, item].numpy()
        numbers = start, strides, step, bounds, factors, taps, sizes, relaxation
        coherent_step()(*arrays, *numbers)
    return image.reshape(x.shape)


def coherent_tangent_(
    q: Tensor,
    x: Tensor,
    lengths: Tensor,
    slopes: Tensor,
    numbers: Tensor,
    scales: Tensor,
    filters: Tensor,
    groups: tuple[int, ...],
) -> Tensor:
    """Overwrite q with D (q + lengths W x) for the derivative D of the projection.

    Parameters
    ----------
    q, slopes
        (item, 2, K^2, ny, nx), contiguous; the rows in their principal axes.
    x
        (item, 2, ny, nx), contiguous.
    numbers
        (item, group, 7, ny, nx), see
        :func:`firenet_mri.operators.spectral_ball.spectral_numbers`.
    lengths, scales, filters, groups
        As :func:`coherent_step_` takes them.

    Returns
    -------
    Tensor
        W^H of it, as x.
    """
    image = torch.zeros_like(x)
    factors = scales.to("cpu", x.dtype).contiguous().numpy()
    taps = filters.to(x.dtype).numpy()
    steps = lengths.to(x.dtype).reshape(-1).numpy()
    for *parts, step in zip(q, x, image, slopes, numbers, steps, strict=True):
        arrays = (part.numpy() for part in parts)
        coherent_tangent()(*arrays, step, factors, taps, np.array(groups))
    return image


@functools.cache
def coherent_tangent() -> Callable[..., None]:
    """Return the compiled function; numba is loaded at the first call."""
    return _compile(_coherent_tangent)


@functools.cache
def coherent_step() -> Callable[..., None]:
    """Return the compiled function; numba is loaded at the first call."""
    return _compile(_coherent_step)


def _coherent_step(
    q: Array,
    x: Array,
    image: Array,
    start: int,
    strides: NDArray[np.int64],
    length: float,
    radii: Array,
    scales: Array,
    filters: Array,
    groups: NDArray[np.int64],
    relaxation: float,
) -> None:
    """Do what ``coherent_step_`` says for one item, row by row; add W^H q to image.

    Parameters
    ----------
    q
        The memory in which the dual lies, of which plane p and band b begin at
        start + p strides[0] + b strides[1].
    x, image
        (2, ny, nx).
    length
        Step size.
    radii, scales
        (K^2).
    filters
        (K, taps).
    groups
        Numbers of successive bands.
    relaxation
        q moves so many times the way to its projection.
    """
    ny, nx = x.shape[1:]
    count, taps = filters.shape
    wide = nx + taps - 1
    is_relaxed = relaxation != 1.0
    before = np.empty((2, count * count, nx), x.dtype)
    ahead = np.empty((2, count, wide), x.dtype)
    back = np.empty((2, count, wide), x.dtype)
    # Per pixel: squares of the rows and their product, then cosine and sine, then squares of s.
    one, two, cross = np.empty(nx, x.dtype), np.empty(nx, x.dtype), np.empty(nx, x.dtype)
    cos, sin = np.empty(nx, x.dtype), np.empty(nx, x.dtype)
    for y in range(ny):
        ahead[:] = 0
        back[:] = 0
        for p in range(2):
            for k in range(count):
                for s in range(taps):
                    g, row, target = filters[k, s], x[p, (y + s) % ny], ahead[p, k]
                    for n in range(nx):
                        target[n] += g * row[n]
                for n in range(nx, wide):
                    ahead[p, k, n] = ahead[p, k, n - nx]
        band = 0
        for size in groups:
            one[:] = 0
            two[:] = 0
            cross[:] = 0
            for b in range(band, band + size):
                k1, k2 = b % count, b // count
                first = start + b * strides[1] + y * nx
                re = q[first : first + nx]
                im = q[first + strides[0] : first + strides[0] + nx]
                if is_relaxed:
                    before[0, b] = re
                    before[1, b] = im
                for t in range(taps):
                    g = length * scales[b] * filters[k2, t]
                    source_re, source_im = ahead[0, k1, t : t + nx], ahead[1, k1, t : t + nx]
                    for n in range(nx):
                        re[n] += g * source_re[n]
                        im[n] += g * source_im[n]
                for n in range(nx):
                    one[n] += re[n] * re[n]
                    two[n] += im[n] * im[n]
                    cross[n] += re[n] * im[n]
            for n in range(nx):
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
                one[n] = 0
                two[n] = 0
            for b in range(band, band + size):
                first = start + b * strides[1] + y * nx
                re = q[first : first + nx]
                im = q[first + strides[0] : first + strides[0] + nx]
                for n in range(nx):
                    u = cos[n] * re[n] + sin[n] * im[n]
                    v = cos[n] * im[n] - sin[n] * re[n]
                    re[n] = u
                    im[n] = v
                    one[n] += u * u
                    two[n] += v * v
            radius, least = radii[band], radii[band] * radii[band]
            for n in range(nx):
                one[n] = radius / math.sqrt(one[n] if one[n] > least else least)
                two[n] = radius / math.sqrt(two[n] if two[n] > least else least)
            for b in range(band, band + size):
                k1, k2 = b % count, b // count
                first = start + b * strides[1] + y * nx
                re = q[first : first + nx]
                im = q[first + strides[0] : first + strides[0] + nx]
                for n in range(nx):
                    u, v = one[n] * re[n], two[n] * im[n]
                    re[n] = cos[n] * u - sin[n] * v
                    im[n] = sin[n] * u + cos[n] * v
                if is_relaxed:
                    for n in range(nx):
                        re[n] = before[0, b, n] + relaxation * (re[n] - before[0, b, n])
                        im[n] = before[1, b, n] + relaxation * (im[n] - before[1, b, n])
                for t in range(taps):
                    g = scales[b] * filters[k2, t]
                    target_re, target_im = back[0, k1, t : t + nx], back[1, k1, t : t + nx]
                    for n in range(nx):
                        target_re[n] += g * re[n]
                        target_im[n] += g * im[n]
            band += size
        for p in range(2):
            for k in range(count):
                for n in range(nx, wide):
                    back[p, k, n - nx] += back[p, k, n]
                source = back[p, k]
                for s in range(taps):
                    g, target = filters[k, s], image[p, (y + s) % ny]
                    for n in range(nx):
                        target[n] += g * source[n]


def _coherent_tangent(
    q: Array,
    x: Array,
    image: Array,
    slopes: Array,
    numbers: Array,
    length: float,
    scales: Array,
    filters: Array,
    groups: NDArray[np.int64],
) -> None:
    """Do what ``coherent_tangent_`` says for one item, row by row; add W^H q to image.

    Parameters
    ----------
    q, slopes
        (2, K^2, ny, nx).
    x, image
        (2, ny, nx).
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
    ny, nx = x.shape[1:]
    count, taps = filters.shape
    wide = nx + taps - 1
    ahead = np.empty((2, count, wide), x.dtype)
    back = np.empty((2, count, wide), x.dtype)
    one, two, both = np.empty(nx, x.dtype), np.empty(nx, x.dtype), np.empty(nx, x.dtype)
    for y in range(ny):
        ahead[:] = 0
        back[:] = 0
        for p in range(2):
            for k in range(count):
                for s in range(taps):
                    g, row, target = filters[k, s], x[p, (y + s) % ny], ahead[p, k]
                    for n in range(nx):
                        target[n] += g * row[n]
                for n in range(nx, wide):
                    ahead[p, k, n] = ahead[p, k, n - nx]
        band = 0
        for group in range(groups.size):
            size = groups[group]
            cos, sin = numbers[group, 0, y], numbers[group, 1, y]
            one[:] = 0
            two[:] = 0
            both[:] = 0
            for b in range(band, band + size):
                k1, k2 = b % count, b // count
                re, im = q[0, b, y], q[1, b, y]
                for t in range(taps):
                    g = length * scales[b] * filters[k2, t]
                    source_re, source_im = ahead[0, k1, t : t + nx], ahead[1, k1, t : t + nx]
                    for n in range(nx):
                        re[n] += g * source_re[n]
                        im[n] += g * source_im[n]
                first, second = slopes[0, b, y], slopes[1, b, y]
                for n in range(nx):
                    u = cos[n] * re[n] + sin[n] * im[n]
                    v = cos[n] * im[n] - sin[n] * re[n]
                    re[n] = u
                    im[n] = v
                    one[n] += u * first[n]
                    two[n] += v * second[n]
                    both[n] += u * second[n] + v * first[n]
            share_one, share_two = numbers[group, 2, y], numbers[group, 3, y]
            own_one, own_two, across = (
                numbers[group, 4, y],
                numbers[group, 5, y],
                numbers[group, 6, y],
            )
            for n in range(nx):
                one[n] *= own_one[n]
                two[n] *= own_two[n]
                both[n] *= across[n]
            for b in range(band, band + size):
                k1, k2 = b % count, b // count
                re, im = q[0, b, y], q[1, b, y]
                first, second = slopes[0, b, y], slopes[1, b, y]
                for n in range(nx):
                    u = share_one[n] * re[n] + one[n] * first[n] + both[n] * second[n]
                    v = share_two[n] * im[n] + two[n] * second[n] + both[n] * first[n]
                    re[n] = cos[n] * u - sin[n] * v
                    im[n] = sin[n] * u + cos[n] * v
                for t in range(taps):
                    g = scales[b] * filters[k2, t]
                    target_re, target_im = back[0, k1, t : t + nx], back[1, k1, t : t + nx]
                    for n in range(nx):
                        target_re[n] += g * re[n]
                        target_im[n] += g * im[n]
            band += size
        for p in range(2):
            for k in range(count):
                for n in range(nx, wide):
                    back[p, k, n - nx] += back[p, k, n]
                source = back[p, k]
                for s in range(taps):
                    g, target = filters[k, s], image[p, (y + s) % ny]
                    for n in range(nx):
                        target[n] += g * source[n]
