"""Worst-case perturbations of k-space by projected gradient ascent with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import DataError
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.prox import item_norm

#: Images (batch, y, x), real or complex, from k-space (batch, *data).
Reconstruct = Callable[[Tensor], Tensor]

_PIXELS = (-2, -1)


class Perturbation(NamedTuple):
    """Worst perturbations that were found, and what they and random ones do.

    e is (batch, *data), the others (batch): largest distance found, largest distance of the random
    starting points, which have the same size.
    """

    e: Tensor
    change: Tensor
    random_change: Tensor


def worst_perturbation(
    reconstruct: Reconstruct,
    y: Tensor,
    mask: Tensor,
    radius: Tensor,
    *,
    steps: int,
    restarts: int,
    seed: int,
    start: Tensor | None = None,
    target: Tensor | None = None,
    step_size: float = 0.5,
    on_step: Callable[[int, int], None] | None = None,
) -> Perturbation:
    """Return the perturbations of k-space that move the reconstructions farthest, as found.

    Projected gradient ascent on ||phi(y + e) - target||^2 over ||e|| <= radius, with Nesterov's
    momentum 0.9 and gradients scaled to unit norm; the best of all steps and starting points. What
    it finds is a lower bound of the worst case.

    Parameters
    ----------
    reconstruct
        phi; items of a batch may not influence each other.
    y
        (batch, *data) complex.
    mask
        bool, broadcasts against y; e is zero where it is False.
    radius
        (batch).
    steps, restarts
        Gradient steps, and starting points an item: random ones of norm ``radius``. All starting
        points run side by side.
    seed
        Of the starting points.
    start
        In the place of the first starting point of each item, scaled to its radius.
    target
        (batch, y, x); None is phi(y), so that the distance is the change.
    step_size
        Length of a step, relative to the radius.
    on_step
        Called with (steps done, steps in all).

    Raises
    ------
    DataError
        If phi returns NaN or infinite values for y.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = tuple(range(1 - y.ndim, 0))
    mask = mask.expand(len(y), *mask.shape[-y.ndim + 1 :]) if mask.ndim == y.ndim else mask
    repeated = (restarts, *[1] * (y.ndim - 1))
    masks = mask.repeat(repeated) if mask.ndim == y.ndim else mask
    random = torch.randn(restarts, *y.shape, dtype=y.dtype, generator=generator) * mask
    radii = radius.repeat(restarts).reshape(-1, *[1] * (y.ndim - 1))
    e = random.flatten(0, 1)
    if start is not None:
        e = torch.cat([start, e[len(y) :]])
    e = radii * e / item_norm(e, axes).clamp(min=1e-30)
    data = y.repeat(repeated)
    with torch.no_grad():
        clean = reconstruct(y) if target is None else target
    if not bool(clean.isfinite().all()):
        raise DataError("The method returned NaN or infinite values; nothing can be attacked")
    clean = clean.repeat(restarts, *[1] * (clean.ndim - 1))
    velocity = torch.zeros_like(e)
    best, best_e, first = torch.full((len(e),), -1.0), e, None
    for step in range(steps + 1):
        e = e.detach().requires_grad_()
        change = item_norm(reconstruct(data + e) - clean, _PIXELS)
        found = change.detach().flatten()
        first = found if first is None else first
        better = found > best  # never where a change is NaN
        best_e = torch.where(better.reshape(radii.shape), e.detach(), best_e)
        best = torch.where(better, found, best)
        if on_step is not None:
            on_step(step, steps)
        if step == steps:
            break
        with denormals_flushed():
            (gradient,) = torch.autograd.grad(change.square().sum(), e)
        gradient = gradient * masks
        ascent = gradient / item_norm(gradient, axes).clamp(min=1e-30)
        velocity = 0.9 * velocity + ascent
        e = e.detach() + step_size * radii * (ascent + 0.9 * velocity)
        e = e * (radii / item_norm(e, axes).clamp(min=1e-30)).clamp(max=1)
    assert first is not None
    best, index = best.reshape(restarts, -1).max(0)
    e = best_e.reshape(restarts, *y.shape)[index, torch.arange(len(y))]
    randoms = first.reshape(restarts, -1)[0 if start is None else 1 :]
    return Perturbation(e, best, randoms.amax(0) if len(randoms) else torch.zeros_like(best))
