"""Several filters applied to images with periodic ends, and the adjoint.

With kernels k_b and a distance d between taps, c_b[n] = sum_t k_b[t] x[n + d t], indices modulo the
size. A slab is a part of the images along the first axis, followed by the rows that the filters
reach; it does not wrap along that axis.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

_CORRELATE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def analyse(images: Tensor, kernels: Tensor, distance: int, *, is_slab: bool) -> Tensor:
    """Return c, (..., band, *spatial); for a slab without the extra rows that the filters reach.

    Parameters
    ----------
    images
        x, (..., *spatial), real.
    kernels
        (band, *taps), real.
    distance
        d, in pixels.
    """
    ndim = kernels.ndim - 1
    for axis in range(is_slab - ndim, 0):
        images = _wrapped(images, axis, distance * (kernels.shape[axis] - 1))
    batch, spatial = images.shape[:-ndim], images.shape[-ndim:]
    weight = kernels.to(images).unsqueeze(1)
    bands = _CORRELATE[ndim](images.reshape(-1, 1, *spatial), weight, dilation=distance)
    return bands.reshape(*batch, *bands.shape[1:])


def synthesise(bands: Tensor, kernels: Tensor, distance: int, *, is_slab: bool) -> Tensor:
    """Return the adjoint of :func:`analyse` for c, (..., *spatial)."""
    ndim = kernels.ndim - 1
    item = bands.shape[bands.ndim - ndim :]
    # One product gives all taps' contributions, in a quarter of a transposed convolution's time.
    taps = kernels.to(bands).flatten(1).T @ bands.flatten(-ndim)
    shares = taps.unflatten(-1, item).unbind(-ndim - 1)
    shifts = [distance * (count - 1) for count in kernels.shape[1:]]
    total = [size + shift for size, shift in zip(item, shifts, strict=True)]
    images = bands.new_zeros(*bands.shape[: -ndim - 1], *total)
    for share, index in zip(shares, itertools.product(*map(range, kernels.shape[1:])), strict=True):
        window = images
        for axis, (tap, size) in enumerate(zip(index, item, strict=True)):
            window = window.narrow(axis - ndim, distance * tap, size)
        window.add_(share)
    for axis in range(is_slab - ndim, 0):
        images = _folded(images, axis, item[axis])
    return images


def separable(filters: Tensor, ndim: int) -> Tensor:
    """Return products of 1D filters (band, tap), (band^ndim, *taps); first axis fastest."""
    kernels = filters
    for _ in range(ndim - 1):
        kernels = torch.einsum("a...,bt->ba...t", kernels, filters).flatten(0, 1)
    return kernels


def _wrapped(x: Tensor, axis: int, extra: int) -> Tensor:
    """Return x followed by ``extra`` samples from its other end."""
    size = x.shape[axis]
    rounds = -(-extra // size)
    parts = [x.narrow(axis, 0, min(size, extra - size * i)) for i in range(rounds)]
    return torch.cat([x, *parts], dim=axis)


def _folded(x: Tensor, axis: int, size: int) -> Tensor:
    """Return the first samples of x with the later ones added to them, modulo the size."""
    result = x.narrow(axis, 0, size)
    if torch.is_grad_enabled():
        result = result.clone()
    for first in range(size, x.shape[axis], size):
        count = min(size, x.shape[axis] - first)
        result.narrow(axis, 0, count).add_(x.narrow(axis, first, count))
    return result
