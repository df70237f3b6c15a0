"""The dual step of phase-coherent groups and its derivative, in blocks of rows.

They are :func:`firenet_mri.operators.frame_passes.frame_steps_` and ``frame_tangent_`` with another
projection, that of the 2 x K matrix of a group's real and imaginary parts at every pixel. The torch
version, with the formulas, is :mod:`firenet_mri.operators.spectral_ball`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.frame_passes import FramePart, over_rows, placed_dual
from firenet_mri.operators.kernels import Array, kernels


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
    """Overwrite q with its projection after a step along W x, and return W^H q.

    Parameters
    ----------
    q
        (2, *batch, K^2, ny, nx) real, the last two axes contiguous.
    x
        (2, *batch, ny, nx) real.
    lengths
        (*batch) step sizes.
    radii
        (1 or K^2), one number per group.
    scales
        (K^2), one factor per band.
    filters
        (K, taps), see :class:`firenet_mri.operators.frame_passes.FramePart`.
    groups
        Numbers of successive bands that make one matrix.
    relaxation
        Relaxation factor; 1 moves q exactly to its projection.
    """
    ny, nx = x.shape[-2:]
    source = x.reshape(2, -1, ny, nx).transpose(0, 1).contiguous()
    image = torch.empty(len(source), ny, 2 * nx, dtype=x.dtype)
    dual = placed_dual(FramePart(q, 1.0, radii, filters))
    sources, targets = source.numpy(), image.numpy()
    factors = scales.to("cpu", q.dtype).contiguous().numpy()
    sizes = np.array(groups)
    steps = lengths.to(q.dtype).reshape(-1).numpy()

    def work(item: int, first: int, last: int, border: Array) -> None:
        kernels().coherent_step(
            dual.memory,
            sources[item],
            targets[item],
            border,
            (first, last),
            dual.start + item * dual.item,
            (dual.plane, dual.band),
            steps[item],
            dual.radii,
            factors,
            dual.filters,
            sizes,
            steps.dtype.type(relaxation),
        )

    for item in range(len(steps)):
        over_rows(functools.partial(work, item), targets[item], filters.shape[1] - 1)
    return image.unflatten(2, (2, nx)).movedim(2, 0).reshape(x.shape)


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
        See :func:`coherent_step_`.

    Returns
    -------
    Tensor
        W^H q, shaped like x.
    """
    items, _, ny, nx = x.shape
    image = torch.empty(items, ny, 2 * nx, dtype=x.dtype)
    factors = scales.to("cpu", x.dtype).contiguous().numpy()
    taps = filters.to(x.dtype).numpy()
    sizes = np.array(groups)
    steps = lengths.to(x.dtype).reshape(-1).numpy()
    arrays = [part.numpy() for part in (q, x, image, slopes, numbers)]

    def work(item: int, first: int, last: int, border: Array) -> None:
        dual, source, target, *own = (array[item] for array in arrays)
        known = border, (first, last), *own, steps[item], factors, taps, sizes
        kernels().coherent_tangent(dual, source, target, *known)

    for item in range(items):
        over_rows(functools.partial(work, item), arrays[2][item], filters.shape[1] - 1)
    return image.unflatten(2, (2, nx)).transpose(1, 2)
