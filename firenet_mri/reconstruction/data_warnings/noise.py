"""The noise of samples, where nobody has measured it: from the outermost of k-space.

Signal falls towards the edge of k-space, and half of the outermost samples may hold some before the
median moves much; what is left of it makes the estimate too large, and so warns too little. For
complex Gaussian noise of variance s^2 the median of |n|^2 is s^2 log 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Farther out than this share of the edge, along one axis at least.
_OUTER = 0.75
# Fewer samples give no median worth the name.
_FEWEST = 32


def noise_levels(samples: Tensor, sampled: Tensor, radius: Tensor) -> Tensor | None:
    """Return an estimate of the noise's standard deviation in every coil; None if there is none.

    Parameters
    ----------
    samples
        (coil, *samples) complex.
    sampled
        (*samples) bool, what was measured.
    radius
        (*samples), distance from the centre of k-space, 1 at its edge.

    Returns
    -------
    Tensor
        (coil) float64.
    """
    # Where a grid was padded with zeros, nothing was measured.
    outer = sampled & (radius >= _OUTER) & (samples != 0).any(0)
    if int(outer.sum()) < _FEWEST:
        return None
    energy = samples[:, outer].abs().double().square()
    return (energy.median(dim=1).values / math.log(2)).sqrt()


def radius_of_grid(shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """Return the distance of every point of a grid from N//2, the largest along an axis, 1 at N."""
    radius = torch.zeros(shape, device=device)
    for axis, size in enumerate(shape):
        offset = (torch.arange(size, device=device) - size // 2).abs() / max(size / 2, 1)
        radius = torch.maximum(radius, offset.reshape(-1, *[1] * (len(shape) - axis - 1)))
    return radius
