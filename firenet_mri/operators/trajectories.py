"""Trajectories of k-space, in cycles per field of view: radial, spiral, stack of stars."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError

_GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2


def radial(spokes: int, samples: int, size: int, *, golden_angle: bool = True) -> Tensor:
    """Return spokes through the centre, (spoke, sample, 2) float64, as (row, column).

    Parameters
    ----------
    spokes, samples
        Number of spokes, and number of samples along each from one side to the other.
    size
        Pixels of the square image; samples lie in [-size/2, size/2).
    golden_angle
        Rotate by 111.2 degrees from spoke to spoke; otherwise by 180 degrees over their number.
    """
    _check(spokes=spokes, samples=samples, size=size)
    turn = _GOLDEN_ANGLE if golden_angle else math.pi / spokes
    angle = turn * torch.arange(spokes, dtype=torch.float64)
    radius = (torch.arange(samples, dtype=torch.float64) - samples // 2) * size / samples
    direction = torch.stack([angle.sin(), angle.cos()], dim=-1)
    return radius[None, :, None] * direction[:, None]


def golden_angle_frames(
    frames: int, spokes: int, samples: int, spatial_shape: tuple[int, int]
) -> Tensor:
    """Return golden-angle spokes of successive frames, (frame, spoke, sample, 2) float64.

    Parameters
    ----------
    frames, spokes, samples
        Number of frames, of spokes per frame, and of samples per spoke.
    spatial_shape
        Pixels (y, x) of the image; the spokes reach its resolution along both axes.
    """
    _check(frames=frames)
    # In cycles per pixel, a unit that is the same along both axes.
    points = radial(frames * spokes, samples, 1) * torch.tensor(spatial_shape)
    return points.reshape(frames, spokes, samples, 2)


def spiral(interleaves: int, samples: int, size: int, turns: float) -> Tensor:
    """Return Archimedean spirals from the centre, (interleaf, sample, 2) float64.

    Parameters
    ----------
    interleaves, samples
        Number of spirals, at evenly spaced angles, and of samples on each, at equal angular steps.
    size
        Pixels of the square image; the spirals stay within [-size/2, size/2).
    turns
        Turns of each spiral. ``interleaves * turns >= size / 2`` leaves no gaps.
    """
    _check(interleaves=interleaves, samples=samples, size=size)
    if not 0 < turns < math.inf:
        raise UsageError(f"{turns} turns requested; a positive number is needed")
    share = torch.arange(samples, dtype=torch.float64) / samples
    start = torch.arange(interleaves, dtype=torch.float64)[:, None] / interleaves
    angle = 2 * math.pi * (turns * share + start)
    radius = (size / 2 * share).expand(interleaves, samples)
    return torch.stack([radius * angle.sin(), radius * angle.cos()], dim=-1)


def stack_of_stars(partitions: int, spokes: int, samples: int, size: int) -> Tensor:
    """Return golden-angle stars in every partition, (partition, spoke, sample, 3) float64.

    Parameters
    ----------
    partitions
        Number of k-space planes, and of slices.
    spokes, samples, size
        See :func:`radial`.
    """
    _check(partitions=partitions)
    star = radial(spokes, samples, size).expand(partitions, spokes, samples, 2)
    height = torch.arange(partitions, dtype=torch.float64) - partitions // 2
    return torch.cat([height.reshape(-1, 1, 1, 1).expand(*star.shape[:-1], 1), star], dim=-1)


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"{count} {name} requested; at least 1 is needed")
