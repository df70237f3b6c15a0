"""Which samples a simulated scan measures."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.io.kspace.reading import mask_array
from firenet_mri.simulation.options import SimulationOptions


def sampling_of(
    spatial: tuple[int, ...], options: SimulationOptions, generator: np.random.Generator
) -> Tensor:
    """Return (1, *spatial) bool: what was measured.

    Raises
    ------
    UsageError
        If the centre alone has more samples than are asked for, or the mask leaves none.
    ShapeError
        If the mask does not broadcast to the spatial axes.
    """
    if options.mask is None:
        return torch.from_numpy(_drawn(spatial, options, generator))
    mask = mask_array(options.mask)
    try:
        full = mask.expand(1, *spatial)
    except RuntimeError:
        raise ShapeError(
            f"The mask has shape {tuple(mask.shape)}, the image {spatial}; give one that "
            "broadcasts to it from the right"
        ) from None
    if not bool(full.any()):
        raise UsageError("The mask leaves no sample; mark sampled points with 1")
    return full.clone()


def _drawn(
    spatial: tuple[int, ...], options: SimulationOptions, generator: np.random.Generator
) -> np.ndarray:
    """Return (1, *spatial) bool: a centre, and samples at random about it."""
    # Lines have one phase-encoding axis to choose along, points two; a readout is always whole,
    # but for the points of a 2D image.
    chosen = spatial[:1] if options.pattern == "lines" and len(spatial) == 2 else spatial[:2]
    if options.pattern == "lines" and len(spatial) == 3:
        chosen = (1, spatial[1])
    count = round(math.prod(chosen) / options.acceleration)
    centre, distance = _centre(chosen, options.calibration)
    if centre.sum() > count:
        raise UsageError(
            f"{centre.sum()} of {count} samples lie in the fully sampled centre; ask for a smaller "
            "acceleration or calibration region"
        )
    density = np.where(centre, 0, np.clip(1 - np.sqrt(distance), 0, None)) ** 1.5 + 1e-6 * ~centre
    outside = count - int(centre.sum())
    mask = centre.ravel().copy()
    if outside and density.sum() > 0:
        mask[
            generator.choice(mask.size, outside, replace=False, p=density.ravel() / density.sum())
        ] = True
    shaped = mask.reshape(*chosen, *[1] * (len(spatial) - len(chosen)))
    return np.broadcast_to(shaped, (1, *spatial)).copy()


def _centre(sizes: tuple[int, ...], calibration: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the calibration region is, and the squared distance from the centre, 1 outside.

    Both have the given sizes.
    """
    distance = np.zeros(sizes)
    centre = np.ones(sizes, bool)
    for axis, size in enumerate(sizes):
        offset = np.arange(size) - size // 2
        shape = [-1 if i == axis else 1 for i in range(len(sizes))]
        distance = distance + ((offset / (size / 2 + 1)) ** 2).reshape(shape)
        width = min(calibration, size) if size > 1 else 1
        centre &= ((offset >= -(width // 2)) & (offset < width - width // 2)).reshape(shape)
    return centre, distance
