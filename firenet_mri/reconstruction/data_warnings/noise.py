"""The noise of samples without a noise measurement, estimated at the edge of k-space.

Signal decreases towards the edge of k-space. Half of the outermost samples may contain some signal
before the median changes much. Remaining signal makes the estimate too large, so that there are too
few warnings. For complex Gaussian noise of variance s^2 the median of |n|^2 is s^2 log 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Relative distance from the centre, along at least one axis, beyond which samples are used.
_OUTER = 0.75
# Fewer samples give no reliable median.
_FEWEST = 32


def noise_levels(samples: Tensor, sampled: Tensor, radius: Tensor) -> Tensor | None:
    """Return an estimate of the noise's standard deviation in every coil; None if there is none.

    Parameters
    ----------
    samples
        (coil, *samples) complex.
    sampled
        (*samples) bool, True where sampled.
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
    """Return every grid point's distance from N//2, the largest over the axes, 1 at the edge."""
    radius = torch.zeros(shape, device=device)
    for axis, size in enumerate(shape):
        offset = (torch.arange(size, device=device) - size // 2).abs() / max(size / 2, 1)
        radius = torch.maximum(radius, offset.reshape(-1, *[1] * (len(shape) - axis - 1)))
    return radius
