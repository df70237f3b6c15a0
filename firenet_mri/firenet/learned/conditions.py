"""What a learned network is told about a scan: numbers near 0 on which its thresholds depend.

Three describe the sampling. The others are levels of the data: of the noise, of the samples at the
edge of k-space, and of those halfway to it, which tell how fine the image is. The level of the
noise is the lower of two: that of the samples at the edge, where little else is left, and that of
the part of several coils' samples that no image explains. Means over the samples are geometric, so
that a few strong ones do not decide. Levels are relative to the scale s of the data, so that the
image of c y stays c times that of y; like s, they are held fixed in what is proven.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firenet_mri.operators.base import LinearOperator, Shape
from firenet_mri.operators.fourier import CartesianFourier

#: Names of the conditions of the sampling, and of the data.
OF_SAMPLING = ("acceleration", "lines", "coils")
OF_DATA = ("noise", "strong noise", "ends", "middle")

#: Names of all conditions.
CONDITIONS = OF_SAMPLING + OF_DATA

#: What the conditions of the data are called where they are kept fixed.
LEVELS = "levels of noise and detail"

# Coil, y, x.
_AXES = (-3, -2, -1)
_TINY = 1e-6
# Inner and outer edge of the rings, relative to the sample that is farthest from the centre.
_ENDS, _MIDDLE = (0.85, 1.0), (0.3, 0.5)
# E log|n|^2 of complex Gaussian noise is that of its variance less Euler's constant.
_OF_NOISE = 0.5772156649
# Binary logarithms of usual levels, and how much of one is 1; levels farther off count as these.
_USUAL_ENDS, _USUAL_MIDDLE, _UNIT, _FARTHEST = -6.0, -4.0, 2.0, 3.0
# Power of the weakest noise that counts, so that samples near zero do not move the level a lot.
_FLOOR = 2.0**-24
# Steps of conjugate gradients, and the least share of the samples that no image explains.
_STEPS, _LEAST_REDUNDANCY = 6, 0.15

#: x -> A^H (A x - y) and ||A x - y||, (*batch, y, x) and (*batch).
Residual = Callable[[Tensor], tuple[Tensor, Tensor]]


def conditions_for(
    encoding: LinearOperator, y: Tensor, residual: Residual, pixels: Tensor
) -> Tensor:
    """Return the conditions of data, (..., condition); zeros if the encoding is no Cartesian Sense.

    Parameters
    ----------
    encoding
        The encoding operator A of 2D images. Items may have masks of their own.
    y
        Data in units of s, (*batch, coil, y, x).
    residual
        Of A and y.
    pixels
        Number of pixels that the maps see, (...).
    """
    mask = _mask_of(encoding)
    if mask is None:
        return y.real.new_zeros(*y.shape[: y.ndim - len(encoding.codomain_shape)], len(CONDITIONS))
    zero = y.new_zeros(*y.shape[:-3], *encoding.domain_shape)
    levels = data_conditions(y, mask, residual, zero, pixels)
    sampling = sampling_conditions(encoding).to(levels)
    return torch.cat([sampling.expand(*levels.shape[:-1], -1), levels], dim=-1)


def sampling_conditions(encoding: LinearOperator) -> Tensor:
    """Return the conditions of the sampling, (..., condition); zeros if it is no Cartesian Sense.

    Leading axes are those of the masks: items may have masks of their own.
    """
    mask = _mask_of(encoding)
    if mask is None:
        return torch.zeros(len(OF_SAMPLING))
    share = mask.float().mean(_AXES)
    across = (mask == mask[..., :1, :]).all(-1).all(-1).all(-1)
    along = (mask == mask[..., :1]).all(-1).all(-1).all(-1)
    least = 1 / math.prod(encoding.domain_shape)
    coils = encoding.codomain_shape[0]
    return conditions_of(1 / share.clamp(min=least), across | along, coils)


def conditions_of(acceleration: Tensor, has_lines: Tensor, coils: int) -> Tensor:
    """Return the conditions of samplings, (..., condition).

    Parameters
    ----------
    acceleration
        Points of the grid for one sample, (...).
    has_lines
        Whether the mask changes along one axis only, (...).
    coils
        Number of coils.
    """
    of_coils = torch.full_like(acceleration, math.log2(coils) - 2.5)
    return torch.stack([acceleration.log2() - 2, has_lines.to(acceleration), of_coils], dim=-1)


def data_conditions(
    y: Tensor, mask: Tensor, residual: Residual, zero: Tensor, pixels: Tensor
) -> Tensor:
    """Return the conditions of data, (..., condition); attacks find their derivative, too.

    Parameters
    ----------
    y
        Data in units of s, (..., coil, y, x).
    mask
        Bool, (..., coil or 1, y, x).
    residual, pixels
        As :func:`conditions_for` has them.
    zero
        An image of zeros, (..., y, x).
    """
    power = y.real.square() + y.imag.square()
    # Samples of exactly zero were filled up, not measured.
    measured = mask & (power > 0)
    logarithms = (power + _FLOOR).log2()
    distance = _distances((y.shape[-2], y.shape[-1])).to(power)
    sampled = torch.where(mask, distance, torch.zeros_like(distance))
    distance = distance / sampled.amax(_AXES, keepdim=True).clamp(min=_TINY)
    ends, middle = (
        _level(logarithms, measured & (distance >= low) & (distance <= high))
        for low, high in (_ENDS, _MIDDLE)
    )
    samples = mask.to(power).mean(_AXES) * math.prod(y.shape[-3:])
    unexplained = _unexplained(residual, zero, samples, pixels.to(samples))
    noise = torch.minimum(ends, unexplained)
    noise, ends = _near_0(noise, _USUAL_ENDS), _near_0(ends, _USUAL_ENDS)
    found = [noise, noise.clamp(min=0), ends, _near_0(middle, _USUAL_MIDDLE)]
    return torch.stack(found, dim=-1)


def least_squares(residual: Residual, zero: Tensor) -> Tensor:
    """Return nearly the image of least ||A x - y||, by conjugate gradients from zero.

    Parameters
    ----------
    residual
        Of A and y.
    zero
        Zeros, (*batch, y, x).
    """
    x, back = zero, -residual(zero)[0]
    rest = ahead = back
    power = _power(rest)
    for _ in range(_STEPS):
        image = residual(ahead)[0] + back
        # Not zero over zero where everything is explained.
        step = power / (ahead.conj() * image).real.sum((-2, -1), keepdim=True).clamp(min=_TINY**4)
        x = x + step * ahead
        rest = rest - step * image
        was, power = power, _power(rest)
        ahead = rest + power / was.clamp(min=_TINY**4) * ahead
    return x


def _power(x: Tensor) -> Tensor:
    return x.abs().square().sum((-2, -1), keepdim=True)


def _unexplained(residual: Residual, zero: Tensor, samples: Tensor, pixels: Tensor) -> Tensor:
    """Return the binary logarithm of what no image explains, (...); inf if one explains nearly all.

    With n samples of white noise and p pixels, a share 1 - p / n of its power is left.
    """
    x = least_squares(residual, zero)
    redundancy = 1 - pixels / samples.clamp(min=1)
    has_any = redundancy >= _LEAST_REDUNDANCY
    power = residual(x)[1].square() / (samples * redundancy.clamp(min=_LEAST_REDUNDANCY)).clamp(
        min=1
    )
    return torch.where(has_any, (power + _FLOOR).log2() / 2, math.inf)


def _level(logarithms: Tensor, ring: Tensor) -> Tensor:
    """Return the binary logarithm of the samples' standard deviation in a ring, (...)."""
    count = ring.sum(_AXES).clamp(min=1)
    mean = torch.where(ring, logarithms, torch.zeros_like(logarithms)).sum(_AXES) / count
    return (mean + _OF_NOISE / math.log(2)) / 2


def _near_0(level: Tensor, usual: float) -> Tensor:
    return ((level - usual) / _UNIT).clamp(-_FARTHEST, _FARTHEST)


def _distances(shape: Shape) -> Tensor:
    """Return how far points of k-space are from the centre, relative to its half width, (y, x)."""
    y, x = (2 * (torch.arange(n) - n // 2) / n for n in shape)
    return torch.hypot(y[:, None], x[None])


def _mask_of(encoding: LinearOperator) -> Tensor | None:
    """Return the mask, (..., coil, y, x); None if the encoding is no Cartesian Sense."""
    fourier = getattr(encoding, "fourier", None)
    if not isinstance(fourier, CartesianFourier):
        return None
    mask = fourier.mask
    while mask.ndim < len(_AXES):
        mask = mask.unsqueeze(0)
    return mask
