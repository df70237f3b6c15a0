"""The samples that a simulated scan measures."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.io.kspace.reading import mask_array
from firenet_mri.operators.trajectories import golden_angle_frames
from firenet_mri.plurals import counted
from firenet_mri.simulation.frames import interleaved_lines
from firenet_mri.simulation.options import SimulationOptions

#: Samples along a spoke per grid step.
_OVERSAMPLING = 2


def sampling_of(
    spatial: tuple[int, ...],
    options: SimulationOptions,
    generator: np.random.Generator,
    frames: int = 1,
) -> Tensor:
    """Return (frame, *spatial) bool, True where sampled.

    Raises
    ------
    UsageError
        If the centre alone has more samples than requested, or a mask leaves none in a frame.
    ShapeError
        If the mask does not broadcast to the frames and the spatial axes.
    """
    if options.mask is None:
        if options.pattern == "interleaved":
            return _interleaved(spatial, options, frames)
        drawn = [_drawn(spatial, options, generator) for _ in range(frames)]
        return torch.from_numpy(np.concatenate(drawn))
    mask = mask_array(options.mask)
    try:
        full = mask.expand(frames, *spatial)
    except RuntimeError:
        raise ShapeError(
            f"The mask has shape {tuple(mask.shape)}, the image {spatial}"
            f"{f' in {frames} frames' if frames > 1 else ''}; give one that broadcasts to it from "
            "the right"
        ) from None
    if not bool(full.flatten(1).any(1).all()):
        raise UsageError("The mask leaves no sample; mark sampled points with 1")
    return full.clone()


def spokes_of(spatial: tuple[int, ...], options: SimulationOptions, frames: int = 1) -> Tensor:
    """Return the trajectory of every frame, (frame, spoke, sample, 2) float64.

    There are as many spokes as there would be lines, with two samples per grid step.

    Raises
    ------
    UsageError
        If the image is a volume, or a mask was given.
    """
    if len(spatial) != 2 or options.mask is not None:
        what = "a mask" if options.mask is not None else "a volume (3d)"
        raise UsageError(f"radial and {what} were both requested; omit one of them")
    ny, nx = spatial
    _check_acceleration(options.acceleration, max(spatial))
    spokes = max(1, round(max(spatial) / options.acceleration))
    return golden_angle_frames(frames, spokes, _OVERSAMPLING * max(spatial), (ny, nx))


def _interleaved(spatial: tuple[int, ...], options: SimulationOptions, frames: int) -> Tensor:
    """Return (frame, *spatial) bool: equally spaced lines per frame, and the centre."""
    every = round(options.acceleration)
    if every != options.acceleration:
        raise UsageError(
            f"Interleaved lines and an acceleration of {options.acceleration:g} were requested; "
            "give a whole number"
        )
    size = spatial[-2]
    _check_acceleration(every, size)
    lines = interleaved_lines(frames, size, every, min(options.calibration, size))
    shaped = lines.reshape(frames, *[1] * (len(spatial) - 2), size, 1)
    return shaped.expand(frames, *spatial).clone()


def _drawn(
    spatial: tuple[int, ...], options: SimulationOptions, generator: np.random.Generator
) -> np.ndarray:
    """Return (1, *spatial) bool: a centre, and random samples around it."""
    # Lines can be chosen along one phase-encoding axis, points along two. A readout is always
    # whole, except for the points of a 2D image.
    chosen = spatial[:1] if options.pattern == "lines" and len(spatial) == 2 else spatial[:2]
    if options.pattern == "lines" and len(spatial) == 3:
        chosen = (1, spatial[1])
    total = math.prod(chosen)
    _check_acceleration(options.acceleration, total)
    count = round(total / options.acceleration)
    centre, distance = _centre(chosen, options.calibration)
    if (inner := int(centre.sum())) > count:
        raise UsageError(
            f"acceleration {options.acceleration:g} leaves {counted(count, 'sample')} of {total}, "
            f"but the fully sampled centre alone has {inner}; give an acceleration of 1 to "
            f"{math.floor(100 * total / inner) / 100:g}, or a narrower calibration region"
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


def _check_acceleration(acceleration: float, total: int) -> None:
    """Refuse an acceleration that leaves less than one sample, line or spoke."""
    if acceleration > total:
        raise UsageError(
            f"acceleration is {acceleration:g}; this image has {total} lines or points to choose "
            f"from, so give a number from 1 to {total}"
        )


def _centre(sizes: tuple[int, ...], calibration: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the calibration region's mask, and the squared distance from the centre, 1 outside.

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
