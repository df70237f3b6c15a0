"""The Cartesian centre of k-space of a scan along a trajectory, for sensitivity maps."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from firenet_mri.operators.density import pipe_menon
from firenet_mri.operators.fourier import CartesianFourier
from firenet_mri.operators.nonuniform import NonuniformFourier
from firenet_mri.operators.toeplitz import ToeplitzNormal
from firenet_mri.scan import RawScan

# The centre is sampled densely; a few steps of least squares are enough there.
_STEPS = 8


def cartesian_centre(scan: RawScan, width: int) -> RawScan:
    """Return a Cartesian scan of the same image with only the centre of k-space sampled.

    Each coil's image is the least-squares solution, with density compensation, after a few
    conjugate gradient steps. Its k-space in the centre is interpolated between the samples there.

    Parameters
    ----------
    scan
        A scan with a trajectory.
    width
        Samples of the centre along every axis.
    """
    shape = scan.spatial_shape
    with torch.no_grad():
        if len(scan.trajectories) == 1:
            images = _least_squares(scan.kspace, scan.trajectories[0], shape)
        else:
            items = scan.kspace.flatten(0, len(scan.batch_shape) - 1)
            pairs = zip(items, scan.trajectories, strict=True)
            images = torch.stack([_least_squares(*pair, shape) for pair in pairs])
            images = images.unflatten(0, scan.batch_shape)
        mask = torch.zeros(shape, dtype=torch.bool)
        widths = [min(width, size) for size in shape]
        centre = [slice(n // 2 - w // 2, n // 2 - w // 2 + w) for n, w in zip(shape, widths)]  # noqa: B905
        mask[tuple(centre)] = True
        kspace = CartesianFourier(mask, shape)(images)
    return dataclasses.replace(
        scan,
        kspace=kspace,
        mask=mask,
        trajectory=None,
        image_shape=None,
    )


def _least_squares(samples: Tensor, trajectory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the images (..., *spatial) of samples (..., *samples) along one trajectory."""
    weights = pipe_menon(trajectory, shape)
    fourier = NonuniformFourier(trajectory, shape, weights=weights)
    normal = ToeplitzNormal(fourier)
    root = weights.sqrt().to(samples.real.dtype)
    right = fourier.adjoint(samples * root)
    axes = tuple(range(-len(shape), 0))
    images = torch.zeros_like(right)
    residual = direction = right
    square = residual.abs().square().sum(axes, keepdim=True)
    tiny = torch.finfo(square.dtype).tiny
    for _ in range(_STEPS):
        ahead = normal(direction)
        curvature = (direction.conj() * ahead).real.sum(axes, keepdim=True)
        length = square / curvature.clamp(min=tiny)
        images = images + length * direction
        residual = residual - length * ahead
        previous, square = square, residual.abs().square().sum(axes, keepdim=True)
        direction = residual + square / previous.clamp(min=tiny) * direction
    return images
