"""Soft thresholds of orthogonal wavelet coefficients in 2D and 3D, level by level in the cache.

A level computes averages and details of some rows and thresholds the details at once; the
coefficients are never assembled. In 3D it computes two planes of averages and details along the
first axis, and then processes each as in 2D.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.base import Shape
from firenet_mri.operators.kernels import Array, kernels, real_array
from firenet_mri.operators.workers import even_parts, in_parallel

# Largest number of rows or planes of averages per block.
_ROWS, _PLANES = 32, 8

# Pixels of a level above which blocks are processed in parallel, which costs 50 microseconds.
_LARGE = 1 << 17


class Wavelet(NamedTuple):
    """An orthogonal wavelet after a cyclic shift.

    ``filters`` are low and high. ``shapes`` are those of the block that each level splits, finest
    first. ``shift`` is the number of pixels by which the image is shifted first.
    """

    filters: tuple[np.ndarray, np.ndarray]
    shapes: list[Shape]
    shift: tuple[int, ...]


def shrink_coefficients(
    x: Tensor, wavelet: Wavelet, lengths: Tensor, weights: Tensor | float
) -> Tensor:
    """Return W^H soft(W x, lengths * weights), a new tensor.

    Parameters
    ----------
    x
        (*batch, *spatial) with 2 or 3 spatial axes.
    wavelet
        W.
    lengths
        (*batch), positive.
    weights
        Not negative; broadcasts against the coefficients of x.
    """
    axes = len(wavelet.shift)
    source = x.resolve_conj().contiguous()
    result = torch.empty_like(source)
    shape = (lengths.numel(), *x.shape[-axes:-1], -1)
    arrays = [real_array(one).reshape(shape) for one in (source, result)]
    steps = lengths.to(x.real.dtype).reshape(-1).numpy()
    spread = torch.as_tensor(weights, dtype=x.real.dtype)
    if spread.numel() == 1:
        factors = spread.reshape(1, *[1] * axes).expand(len(steps), *[1] * axes).numpy()
    else:
        factors = spread.expand(x.shape).reshape(len(steps), *x.shape[-axes:]).numpy()
    low, high = (one.astype(steps.dtype) for one in wavelet.filters)
    run = _Run(low, high, 2 if x.is_complex() else 1)
    for item, step in enumerate(steps):
        _shrink_item(run, wavelet, arrays[0][item], step, factors[item], arrays[1][item])
    return result


class _Run(NamedTuple):
    """Common arguments of all passes of a run: filters, and 2 for complex or 1 for real numbers."""

    low: Array
    high: Array
    parts: int


def _shrink_item(
    run: _Run, wavelet: Wavelet, x: Array, length: Any, weights: Array, out: Array
) -> None:
    sources, depth = [x], len(wavelet.shapes)
    none = (0,) * len(wavelet.shift)
    moved = tuple(s % n for s, n in zip(wavelet.shift, wavelet.shapes[0], strict=True))
    for level, shape in enumerate(wavelet.shapes):
        block = np.empty((*shape[:-1], run.parts * shape[-1]), x.dtype)
        shrinkage = length, level == depth - 1
        _split(run, sources[-1], shape, none if level else moved, shrinkage, weights, block)
        sources.append(block)
    for level in reversed(range(depth)):
        target = sources[level] if level else out
        shift = none if level else moved
        _merge(run, sources[level + 1], wavelet.shapes[level], shift, target)


def _split(
    run: _Run,
    x: Array,
    shape: Shape,
    shift: tuple[int, ...],
    shrinkage: tuple[Any, bool],
    weights: Array,
    out: Array,
) -> None:
    """Set out to a level's averages and thresholded details."""
    compiled = kernels()
    if len(shape) == 2:

        def rows(block: range) -> None:
            window = block.start, block.stop
            compiled.split_rows(x, shape, shift, window, *run, shrinkage, weights, out)

        _in_blocks(rows, shape, _ROWS)
        return
    half, plane = shape[0] // 2, shape[1:]
    every = 0, (plane[0] + 1) // 2

    def planes(block: range) -> None:
        pair = np.empty((2, *out.shape[1:]), out.dtype)
        for r in block:
            compiled.split_planes(x, shape, shift[0], r, *run, pair)
            targets = (r, shape[0] - half + r) if r < half else (r,)
            for band, z in enumerate(targets):
                shrinks = shrinkage[0], shrinkage[1] or band == 1
                factors = weights[z if weights.size > 1 else 0]
                arguments = (plane, shift[1:], every, *run, shrinks, factors)
                compiled.split_rows(pair[band], *arguments, out[z])

    _in_blocks(planes, shape, _PLANES)


def _merge(run: _Run, c: Array, shape: Shape, shift: tuple[int, ...], out: Array) -> None:
    """Set the leading corner of out to the block of averages and details c."""
    compiled = kernels()
    if len(shape) == 2:

        def rows(block: range) -> None:
            compiled.merge_rows(c, shape, shift, (block.start, block.stop), *run, out)

        _in_blocks(rows, shape, _ROWS)
        return
    plane, half = shape[1:], shape[0] // 2
    every = 0, (plane[0] + 1) // 2
    merged = np.empty_like(c)

    def within(block: range) -> None:
        for r in block:
            for z in (r, shape[0] - half + r) if r < half else (r,):
                compiled.merge_rows(c[z], plane, shift[1:], every, *run, merged[z])

    def across(block: range) -> None:
        for r in block:
            compiled.merge_planes(merged, shape, shift[0], r, *run, out)

    _in_blocks(within, shape, _PLANES)
    _in_blocks(across, shape, _PLANES)


def _in_blocks(work: Callable[[range], None], shape: Shape, largest: int) -> None:
    """Do the work for blocks of a level's averages along the first axis, in parallel if large."""
    rows = (shape[0] + 1) // 2
    is_large = math.prod(shape) >= _LARGE
    blocks = even_parts(rows, largest if is_large else rows)
    in_parallel(lambda i: work(blocks[i]), len(blocks))
