"""The dual step of frames with separable filters in 2D, and its derivative, in blocks of rows.

A coefficient depends on a few rows after its own. Blocks of rows are therefore processed in
parallel, and their contributions to the rows after them are added at the end. Neither the blocks
nor the image depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.kernels import Array, kernels, real_array
from firenet_mri.operators.workers import even_parts, in_parallel

# Largest number of rows of a block.
_ROWS = 32


class FramePart(NamedTuple):
    """A frame of a stack and its dual.

    Parameters
    ----------
    q
        (planes, *batch, K^2, ny, nx) real, the last two axes contiguous; 1 or 2 planes.
    scale
        Factor of the frame.
    radii
        (1 or K^2) of the discs.
    filters
        (K, taps): band k2 K + k1 of the frame is sum over s, t of
        filters[k1, s] filters[k2, t] x[m + s, n + t], indices modulo the size.
    """

    q: Tensor
    scale: float
    radii: Tensor
    filters: Tensor


def frame_steps_(
    parts: Sequence[FramePart], x: Tensor, lengths: Tensor, relaxation: float = 1.0
) -> Tensor:
    """Overwrite every q with its projection after a step along scale W x.

    Parameters
    ----------
    parts
        Frames W and their duals.
    x
        (*batch, ny, nx) real or complex.
    lengths
        (*batch) step sizes.
    relaxation
        Relaxation factor; 1 moves q exactly to its projection.

    Returns
    -------
    Tensor
        The sum of scale W^H q, like x.
    """
    source = x.resolve_conj().contiguous()
    image = torch.empty_like(source)
    shape = (lengths.numel(), x.shape[-2], -1)
    sources, targets = (real_array(one).reshape(shape) for one in (source, image))
    duals = [placed_dual(part) for part in parts]
    reach = max(part.filters.shape[1] for part in parts) - 1
    steps = lengths.to(x.real.dtype).reshape(-1).numpy()

    def work(item: int, first: int, last: int, border: Array) -> None:
        for index, dual in enumerate(duals):
            scale = dual.filters.dtype.type(dual.scale)
            kernels().frame_step(
                dual.memory,
                sources[item],
                targets[item],
                border,
                (first, last, index > 0),
                dual.start + item * dual.item,
                (dual.plane, dual.band),
                scale * steps[item],
                scale,
                dual.radii,
                dual.filters,
                steps.dtype.type(relaxation),
            )

    for item in range(len(steps)):
        over_rows(functools.partial(work, item), targets[item], reach)
    return image


def over_rows(work: Callable[[int, int, Array], None], image: Array, reach: int) -> None:
    """Write blocks of an image's rows in parallel.

    Parameters
    ----------
    work
        Called with first row, last row + 1, and (reach, n) of memory for contributions to the rows
        after them. It writes these and the rows.
    image
        (ny, n), written.
    reach
        Number of rows after a block to which it contributes.
    """
    blocks = even_parts(len(image), _ROWS)
    borders = np.empty((len(blocks), reach, image.shape[1]), image.dtype)
    in_parallel(lambda i: work(blocks[i].start, blocks[i].stop, borders[i]), len(blocks))
    kernels().add_borders(image, borders, np.array([block.stop for block in blocks]))


class PlacedDual(NamedTuple):
    """The position of a dual in memory, in numbers; ``plane`` is 0 if there is only one."""

    memory: Array
    start: int
    item: int
    plane: int
    band: int
    scale: float
    radii: Array
    filters: Array


def placed_dual(part: FramePart) -> PlacedDual:
    """Return the position of a frame's dual, with radii and filters in its precision."""
    q = part.q
    items = q.unflatten(0, (len(q), 1)) if q.ndim == 4 else q.flatten(1, -4)
    memory = items.as_strided((items.untyped_storage().nbytes() // items.element_size(),), (1,), 0)
    radii = part.radii.to(q.dtype).reshape(-1).expand(q.shape[-3]).contiguous()
    plane = items.stride(0) if len(q) == 2 else 0
    places = int(items.storage_offset()), items.stride(1), plane, items.stride(2)
    filters = part.filters.to(q.dtype).numpy()
    return PlacedDual(memory.numpy(), *places, part.scale, radii.numpy(), filters)


def frame_slopes(q: Tensor, x: Tensor, lengths: Tensor, radii: Tensor, filters: Tensor) -> Tensor:
    """Return the derivative of the projection in ``frame_steps_``; q is not changed.

    The projection of z on the disc of radius r has at |z| > r the derivative d -> p <p, d> with
    p = (r / |z|)^(1/2) i z / |z|, and 1 inside, which is stored as p = 2.

    Parameters
    ----------
    q
        (item, planes, K^2, ny, nx) real; 1 or 2 planes.
    x
        (item, planes, ny, nx) real.
    lengths, radii, filters
        One per item, (1 or K^2), and (K, taps), see :class:`FramePart`.

    Returns
    -------
    Tensor
        p in planes, of q's shape, in single precision, which halves what every application reads.
        D stays exactly symmetric and differs from the derivative in the seventh digit.
    """
    slopes = torch.empty(q.shape, dtype=torch.float32)
    bounds = radii.to(q.dtype).reshape(-1).expand(q.shape[-3]).contiguous().numpy()
    taps = filters.to(q.dtype).numpy()
    steps = lengths.to(q.dtype).reshape(-1).numpy()
    arrays = [part.contiguous().numpy() for part in (q, x, slopes)]
    blocks = even_parts(q.shape[-2], _ROWS)

    def work(part: int) -> None:
        item, block = divmod(part, len(blocks))
        rows = blocks[block].start, blocks[block].stop
        own = (array[item] for array in arrays)
        kernels().frame_slopes(*own, rows, steps[item], bounds, taps)

    in_parallel(work, len(steps) * len(blocks))
    return slopes


def frame_tangent_(
    q: Tensor, x: Tensor, lengths: Tensor, slopes: Tensor, filters: Tensor
) -> Tensor:
    """Overwrite q with D (q + lengths W x) for slopes D, and return W^H q.

    Parameters
    ----------
    q, slopes
        (item, planes, K^2, ny, nx), contiguous; what :func:`frame_slopes` returned.
    x
        (item, planes, ny, nx), contiguous.
    lengths, filters
        One per item, and (K, taps).
    """
    items, planes, ny, nx = x.shape
    image = torch.empty(items, ny, planes * nx, dtype=x.dtype)
    taps = filters.to(x.dtype).numpy()
    steps = lengths.to(x.dtype).reshape(-1).numpy()
    arrays = [part.numpy() for part in (q, x, slopes, image)]

    def work(item: int, first: int, last: int, border: Array) -> None:
        dual, source, own, target = (array[item] for array in arrays)
        rows = first, last
        kernels().frame_tangent(dual, source, target, border, rows, own, steps[item], taps)

    for item in range(items):
        over_rows(functools.partial(work, item), arrays[3][item], filters.shape[1] - 1)
    return image.unflatten(2, (planes, nx)).transpose(1, 2)
