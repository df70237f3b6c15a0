"""Random sampling masks with a sampled centre: lines along an axis, or points."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from firenet_mri.training.randomness import Random

# Accelerations of lines and of points; the centre is drawn separately.
LINES = (2.0, 6.0)
POINTS = (2.0, 9.0)


def square_mask(size: int, random: Random) -> Tensor:
    """Return a mask (size, size) bool."""
    if random.chance(0.5):
        lines = _lines(size, random).expand(size, size)
        return (lines if random.chance(0.5) else lines.mT).contiguous()
    return _points((size, size), random)


def random_mask(shape: tuple[int, int], random: Random) -> Tensor:
    """Return a mask (y, x) bool of any shape."""
    if random.chance(0.5):
        axis = random.integer(0, 2)
        lines = _lines(shape[axis], random)
        return (lines[:, None] if axis == 0 else lines[None]).expand(shape).contiguous()
    return _points(shape, random)


def _lines(size: int, random: Random) -> Tensor:
    """Return which lines are sampled, (size) bool: a centre, and others at random or every nth."""
    centre = round(size * random.uniform(0.08, 0.2))
    mask = torch.zeros(size, dtype=torch.bool)
    first = size // 2 - centre // 2
    mask[first : first + centre] = True
    wanted = max(int(size / random.uniform(*LINES)) - centre, 4)
    if random.chance(0.4):
        apart = max(2, round((size - centre) / wanted))
        mask[random.integer(0, apart) :: apart] = True
        return mask
    density = torch.exp(-(torch.linspace(-1, 1, size) ** 2) / (2 * random.uniform(0.25, 0.8) ** 2))
    density = (density + 0.1) * ~mask
    mask[random.taken(density, min(wanted, int((density > 0).sum())))] = True
    return mask


def _points(shape: tuple[int, int], random: Random) -> Tensor:
    """Return points with a density that falls from the centre, (y, x) bool."""
    acceleration = random.uniform(*POINTS)
    share = random.uniform(0.05, 0.1)
    middle = tuple(
        slice(size // 2 - round(size * share), size // 2 + round(size * share)) for size in shape
    )
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij")
    density = (1 - torch.hypot(y, x) / math.sqrt(2)).clamp(min=0) ** random.uniform(1, 4)
    drawn = random.grid(*shape)
    if random.chance(0.6):
        # Less of its low frequencies keeps points apart, as a Poisson disc does.
        apart = drawn - avg_pool2d(drawn[None], 5, 1, 2, count_include_pad=False)[0]
        drawn = apart.flatten().argsort().argsort().reshape(shape) / drawn.numel()
    drawn = drawn / density.clamp(min=1e-6)
    drawn[middle] = 0
    count = int(drawn.numel() / acceleration)
    return drawn <= drawn.flatten().kthvalue(count).values
