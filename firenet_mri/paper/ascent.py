"""Worst-case perturbations of k-space by projected gradient ascent with momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.prox import item_norm

#: Images (batch, y, x), real or complex, from k-space (batch, y, x).
Reconstruct = Callable[[Tensor], Tensor]

_PIXELS = (-2, -1)


class Perturbation(NamedTuple):
    """Worst perturbations that were found, and what they and random ones change.

    e is (batch, y, x), the others (batch): largest change found, largest change of the random
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
    on_step: Callable[[int, int], None] | None = None,
) -> Perturbation:
    """Return the perturbations of k-space that change the reconstructions most, as found.

    Projected gradient ascent on ||phi(y + e) - phi(y)||^2 over ||e|| <= radius, with Nesterov's
    momentum 0.9 and gradients scaled to unit norm; the best of all steps and starting points. What
    it finds is a lower bound of the worst case.

    Parameters
    ----------
    reconstruct
        phi; items of a batch may not influence each other.
    y
        (batch, y, x) complex.
    mask
        bool (y, x); e is zero where it is False.
    radius
        (batch).
    steps, restarts
        Gradient steps, and starting points an item: random ones of norm ``radius``.
    seed
        Of the starting points.
    start
        In the place of the first starting point of each item, scaled to its radius.
    on_step
        Called with (steps done, steps in all).
    """
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(restarts, *y.shape, dtype=y.dtype, generator=generator) * mask
    radii = radius.reshape(-1, 1, 1).repeat(restarts, 1, 1)
    e = random.flatten(0, 1)
    if start is not None:
        e = torch.cat([start, e[len(y) :]])
    e = radii * e / item_norm(e, _PIXELS)
    data = y.repeat(restarts, 1, 1)
    with torch.no_grad():
        clean = reconstruct(data)
    velocity = torch.zeros_like(e)
    best, best_e, first = torch.full((len(e),), -1.0), e, None
    for step in range(steps + 1):
        e = e.detach().requires_grad_()
        change = item_norm(reconstruct(data + e) - clean, _PIXELS)
        found = change.detach().flatten()
        first = found if first is None else first
        better = found > best  # never where a change is NaN
        best_e = torch.where(better[:, None, None], e.detach(), best_e)
        best = torch.where(better, found, best)
        if on_step is not None:
            on_step(step, steps)
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(change.square().sum(), e)
        gradient = gradient * mask
        ascent = gradient / item_norm(gradient, _PIXELS).clamp(min=1e-30)
        velocity = 0.9 * velocity + ascent
        e = e.detach() + 0.5 * radii * (ascent + 0.9 * velocity)
        e = e * (radii / item_norm(e, _PIXELS).clamp(min=1e-30)).clamp(max=1)
    assert first is not None
    best, index = best.reshape(restarts, -1).max(0)
    e = best_e.reshape(restarts, *y.shape)[index, torch.arange(len(y))]
    randoms = first.reshape(restarts, -1)[0 if start is None else 1 :]
    return Perturbation(e, best, randoms.amax(0))
