"""The residual of a multi-coil Cartesian scan by compiled passes between its FFTs.

Blocks of k-space stay in the cache of one thread: maps, FFT, mask and data, FFT back, coil sum.
Each block of rows writes its own part of the image. Where the FFT needs all rows, groups of coils
have separate sums, which are added at the end. Neither depends on the number of threads, so neither
does the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.base import records_graph
from firenet_mri.operators.kernels import Array, kernels, real_array
from firenet_mri.operators.workers import even_parts, in_parallel

# Complex numbers of k-space in a block: one MiB in single precision.
_BLOCK = 1 << 17

# Number of coil sums computed in parallel.
_GROUPS = 4


class Samples(NamedTuple):
    """The part of the residual's offset on the mask; it is 0 elsewhere.

    Parameters
    ----------
    columns
        int32, columns of the samples, one row after the other.
    starts
        int64, (rows + 1), where each row begins in ``columns``; (2) if all rows are the same.
    places
        int64, indices of the samples among all entries of a coil.
    values
        (coil, 2 samples), alternating real and imaginary parts.
    """

    columns: Tensor
    starts: Tensor
    places: Tensor
    values: Tensor

    @classmethod
    def pattern(cls, factor: Tensor, rows: int) -> Samples:
        """Return the samples, without values, for a factor as :class:`Item` has it."""
        mask = factor.unflatten(-1, (-1, 2))[0, ..., 0].reshape(factor.shape[1], -1) != 0
        starts = torch.zeros(len(mask) + 1, dtype=torch.int64)
        starts[1:] = mask.sum(1).cumsum(0)
        columns = mask.nonzero()[:, 1].to(torch.int32)
        places = mask.expand(rows, -1).reshape(-1).nonzero()[:, 0]
        return cls(columns, starts, places, factor.new_empty(0))

    def taken_from(self, offset: Tensor) -> Tensor:
        """Return the values of an offset, (coil, *axes)."""
        pairs = offset.reshape(len(offset), -1, 2)
        return pairs.index_select(1, self.places).flatten(1)


@dataclass(frozen=True, eq=False)
class Item:
    """One item of the batch: complex maps (coil, *axes), and what converts k-space to the residual.

    For interleaved real and imaginary parts k of an FFT without a scale, the conjugate residual is
    sqrt(n) (factor * k + offset), with n points of the FFT. The factor is the mask over n, negative
    for imaginary parts; the offset is minus the conjugate data over sqrt(n). The factor has one
    entry for all coils or one per coil, and 1 row if all rows are the same.
    """

    maps: Tensor
    factor: Tensor
    data: Tensor | Samples
    _dense: list[Tensor] = field(default_factory=list, init=False, repr=False)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors."""
        data = self.data.values if isinstance(self.data, Samples) else self.data
        return self.maps, self.factor, data

    @property
    def offset(self) -> Tensor:
        """The data, (coil, *axes), with zeros off the mask; kept after the first call."""
        if not isinstance(self.data, Samples):
            return self.data
        if self._dense and not records_graph():
            return self._dense[0]
        coils, *axes = self.maps.shape
        dense = self.data.values.new_zeros(coils, math.prod(axes), 2)
        dense[:, self.data.places] = self.data.values.unflatten(1, (-1, 2))
        dense = dense.reshape(coils, *axes[:-1], -1)
        # A graph that is traced has no numbers to keep.
        if not records_graph():
            self._dense.append(dense)
        return dense


class _Plan(NamedTuple):
    """The arrays of an item as the compiled passes take them; the last two depend on the data."""

    maps: Array
    image: Array
    factor: Array
    data: Array
    samples: tuple[np.ndarray, np.ndarray] | None


def residual_of(item: Item, image: Tensor, transformed: int) -> tuple[Tensor, float]:
    """Return A^H (A x - y) in the loop's order of axes, and the sum of squares of A x - y over n.

    Parameters
    ----------
    item
        The part of the scan that the passes need.
    image
        x, (*axes), contiguous, at least 2 axes.
    transformed
        Number of trailing axes that the FFT transforms.
    """
    plan = _plan(item, image)
    coils, rows = item.maps.shape[:2]
    block_rows, block_coils = block_sizes(item.maps.shape, transformed)
    windows = even_parts(rows, block_rows)
    groups = [range(0, coils, block_coils)]
    if len(windows) == 1:
        starts = range(0, coils, block_coils)
        largest = math.ceil(len(starts) / _GROUPS)
        groups = [starts[part.start : part.stop] for part in even_parts(len(starts), largest)]
    # Separate arrays, so that the image does not keep the others in memory.
    sums = [np.empty_like(plan.image) for _ in groups]
    axes = tuple(range(-transformed, 0))

    def work(part: int) -> float:
        window, group = windows[part // len(groups)], part % len(groups)
        rest = tuple(item.maps.shape[2:])
        return _blocks(plan, window, groups[group], block_coils, rest, axes, sums[group])

    square = sum(in_parallel(work, len(windows) * len(groups)))
    for other in sums[1:]:
        kernels().add_up(sums[0], other)
    gradient = torch.from_numpy(sums[0]).view(image.dtype).reshape(image.shape)
    return gradient, square


def block_sizes(shape: tuple[int, ...], transformed: int) -> tuple[int, int]:
    """Return how many entries of the first axis and how many coils make a block.

    Parameters
    ----------
    shape
        (coil, *axes).
    transformed
        Number of trailing axes that the FFT transforms.
    """
    coils, rows, *rest = shape
    size = math.prod(rest)
    is_free = transformed < len(shape) - 1
    block_rows = min(rows, max(1, _BLOCK // (coils * size))) if is_free else rows
    return block_rows, min(coils, max(1, _BLOCK // (block_rows * size)))


def _blocks(
    plan: _Plan,
    window: range,
    starts: range,
    coils: int,
    rest: tuple[int, ...],
    axes: tuple[int, ...],
    out: Array,
) -> float:
    """Set some rows of out to the sum over some blocks of coils; return their sum of squares."""
    compiled = kernels()
    square, row = 0.0, window.start
    dtype = np.complex64 if out.dtype == np.float32 else np.complex128
    for first in starts:
        count = min(coils, len(plan.maps) - first)
        block = np.empty((count, len(window), *rest), dtype)
        shape = (count, len(window), -1)
        compiled.expand(plan.maps, plan.image, first, row, block.view(out.dtype).reshape(shape))
        kspace = _fft(block, axes)
        flat = kspace.view(out.dtype).reshape(shape)
        if plan.samples is None:
            square += compiled.subtract_data(flat, plan.factor, plan.data, first, row)
        else:
            arguments = (plan.factor, *plan.samples, plan.data)
            square += compiled.subtract_samples(flat, *arguments, first, row)
        images = _fft(kspace, axes).view(out.dtype).reshape(shape)
        compiled.combine(plan.maps, images, first, row, first == starts.start, out)
    return square


def _fft(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return the FFT without a scale; without axes it is x itself."""
    return torch.fft.fftn(torch.from_numpy(x), dim=axes).numpy() if axes else x


def _plan(item: Item, image: Tensor) -> _Plan:
    coils, rows = item.maps.shape[:2]
    maps = real_array(item.maps).reshape(coils, rows, -1)
    factor = real_array(item.factor).reshape(*item.factor.shape[:2], -1)
    source = real_array(image).reshape(rows, -1)
    if not isinstance(item.data, Samples):
        return _Plan(maps, source, factor, real_array(item.data).reshape(coils, rows, -1), None)
    pattern = item.data.columns.numpy().view(np.uint32), item.data.starts.numpy()
    values = item.data.values.numpy()
    return _Plan(maps, source, factor, values.view(item.maps.numpy().dtype), pattern)
