"""The residual of an image, relative to the noise.

The ratio is ||y - A x|| / (sum of the noise's variance over all samples)^(1/2). It is about 1 if x
explains everything but noise, and less if x fits some of the noise or the noise is overestimated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.operators.links import SampleWeighting
from firenet_mri.reconstruction.data_warnings.warning import Kind
from firenet_mri.reconstruction.solve import Encoded

RESIDUAL_ABOVE_NOISE = Kind(
    "residual_above_noise",
    1.5,
    "The image does not explain the data: the residual is larger than the noise. Look for coils "
    "that show different images, lines in the wrong order, motion, or wrong maps. Too few layers, "
    "a large lam, and a trained network on data unlike its training data have the same effect.",
)

# Maps and sparsity leave less than this share of the norm of data without noise.
_SMALLEST_SHARE = 0.05


def residual_over_noise(encoded: Encoded, x: Tensor, noise: Tensor) -> float | None:
    """Return the residual over the noise; None if there is hardly any of either.

    Parameters
    ----------
    encoded
        The network's input, of one item.
    x
        Its image, (*domain_shape).
    noise
        (coil), standard deviation of a sample's noise.
    """
    y, left = encoded.y, 0.0
    with torch.no_grad():
        for first, part in encoded.encoding.data_parts():
            data = y.narrow(0, first, part.codomain_shape[0])
            left += _energy(data - part(x.to(y)))
    expected = energy_of_noise(encoded, noise)
    if expected <= 0:
        return None
    is_little = left - expected <= _SMALLEST_SHARE**2 * _energy(y)
    ratio = math.sqrt(left / expected)
    return min(ratio, 1.0) if is_little else ratio


def _energy(x: Tensor) -> float:
    # Real numbers, since the norm of complex ones takes ten times as long. Coil by coil, since a
    # sum in double precision copies its operands.
    parts = (torch.view_as_real(part.resolve_conj()).square() for part in x)
    return sum(float(part.sum(dtype=torch.float64)) for part in parts)


def energy_of_noise(encoded: Encoded, noise: Tensor) -> float:
    """Return the expected energy of the noise in the network's data."""
    weights = [link.weights for link in encoded.chain.links if isinstance(link, SampleWeighting)]
    sampled = encoded.sampled
    if not weights and sampled is not None:
        return float(noise.square().sum()) * float(sampled.sum())
    shape = encoded.samples.shape
    energy = torch.ones(shape, dtype=torch.float32)
    for factor in weights:
        energy *= factor.cpu().float().square()
    if sampled is not None:
        energy *= sampled.cpu()
    of_coils = energy.flatten(1).sum(1, dtype=torch.float64)
    return float((of_coils * noise.square()).sum())
