"""Magnitudes to simulate scans from: pictures cut, turned, with other contrast; and phantoms.

A picture with a dark border is an object on a background, as anatomy is; any other fills its frame,
and an ellipse of it is used. Contrast is changed by a smooth random curve of the intensity, which
may invert it; a smooth field makes one side brighter; small discs and strokes of low contrast
represent what must not be lost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from firenet_mri.training.randomness import Random

# What is darker than this share of the brightest is background.
_BACKGROUND = 0.02
# A border of this mean, relative to the brightest, is that of an object on a background.
_DARK_BORDER = 0.05
_FINER = 2


def magnitude(picture: Tensor, size: int, random: Random) -> tuple[Tensor, Tensor]:
    """Return a variation of a picture, (size, size) in [0, 1], and where the object is, bool.

    Parameters
    ----------
    picture
        (y, x) in [0, 1].
    size
        In pixels.
    random
        What is drawn from.
    """
    is_object = shows_object(picture)
    image = _resized(picture if is_object else _cut(picture, size, random), size)
    image = turned(image, random)
    support = image > _BACKGROUND if is_object else ellipse(size, random)
    image = image * support
    image = recoloured(image, random) * support
    image = image * (1 + random.uniform(0, 0.25) * random.smooth((size, size), 3)).clamp(0.2, 2)
    if random.chance(0.4):
        image = with_details(image, random) * support
    return image / image.max().clamp(min=1e-6), support


def phantom(size: int, random: Random) -> tuple[Tensor, Tensor]:
    """Return a piecewise constant object, (size, size) in [0, 1], and where it is, bool.

    A disc or box with discs, boxes, and groups of bars and of dots in it.
    """
    fine = _FINER * size
    support = ellipse(fine, random) if random.chance(0.6) else _box(fine, random, 0.5, 0.9)
    image = support * random.uniform(0.2, 1.0)
    for _ in range(random.integer(3, 25)):
        shape = random.choice((_disc, _disc, _small_box, _bars, _dots))(fine, random)
        image = torch.where(shape, torch.full_like(image, random.uniform(0, 1)), image)
    image = interpolate((image * support)[None, None], (size, size), mode="area")[0, 0]
    if random.chance(0.5):
        image = image * (1 + random.uniform(0, 0.25) * random.smooth((size, size), 3)).clamp(0.2, 2)
    inside = interpolate(support[None, None].float(), (size, size), mode="area")[0, 0] > 0
    return image / image.max().clamp(min=1e-6), inside


def ellipse(size: int, random: Random) -> Tensor:
    """Return a large rotated ellipse, (size, size) bool."""
    u, v = _axes(size, random.uniform(0, math.pi))
    return (u / random.uniform(0.5, 0.95)) ** 2 + (v / random.uniform(0.5, 0.95)) ** 2 < 1


def shows_object(picture: Tensor) -> bool:
    """Return whether a picture has a dark border."""
    border = torch.cat([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return bool(border.mean() < _DARK_BORDER * picture.max())


def _cut(picture: Tensor, size: int, random: Random) -> Tensor:
    """Return a square of a picture, more often a small one."""
    whole = min(picture.shape)
    side = whole if whole <= size else int(size + (whole - size) * random.uniform() ** 1.5)
    y = random.integer(0, picture.shape[0] - side + 1)
    x = random.integer(0, picture.shape[1] - side + 1)
    return picture[y : y + side, x : x + side]


def _resized(picture: Tensor, size: int) -> Tensor:
    """Return a picture made square with zeros and resampled."""
    y, x = picture.shape
    side = max(y, x)
    top, left = (side - y) // 2, (side - x) // 2
    square = pad(picture, (left, side - x - left, top, side - y - top))[None, None]
    resampled: Tensor = interpolate(square, (size, size), mode="bicubic", antialias=side > size)
    return resampled[0, 0].clamp(0, 1)


def turned(image: Tensor, random: Random) -> Tensor:
    image = image.mT if random.chance(0.5) else image
    flips = [axis for axis in (0, 1) if random.chance(0.5)]
    return image.flip(flips)


def recoloured(image: Tensor, random: Random) -> Tensor:
    """Return an image with another contrast."""
    if random.chance(0.5):
        return image ** random.uniform(0.6, 1.6)
    knots = random.grid(random.integer(3, 7))
    position = image * (len(knots) - 1)
    left = position.floor().clamp(max=len(knots) - 2).long()
    return knots[left] + (position - left) * (knots[left + 1] - knots[left])


def with_details(image: Tensor, random: Random) -> Tensor:
    """Return an image with small discs and strokes, a little brighter or darker than around."""
    shape = (image.shape[0], image.shape[1])
    for _ in range(random.integer(1, 8)):
        contrast = random.uniform(0.03, 0.3) * (1 if random.chance(0.5) else -1)
        u, v = _axes(shape, random.uniform(0, math.pi))
        u, v = u - random.uniform(-0.6, 0.6), v - random.uniform(-0.6, 0.6)
        length, width = random.uniform(0.01, 0.08), random.uniform(0.01, 0.03)
        image = image + contrast * ((u / length) ** 2 + (v / width) ** 2 < 1)
    return image.clamp(0, 1.3)


def _axes(size: int | tuple[int, int], angle: float) -> tuple[Tensor, Tensor]:
    """Return rotated coordinates in [-1, 1] of a square or a rectangle."""
    shape = (size, size) if isinstance(size, int) else size
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    return math.cos(angle) * y + math.sin(angle) * x, math.cos(angle) * x - math.sin(angle) * y


def _box(size: int, random: Random, least: float, most: float) -> Tensor:
    u, v = _axes(size, random.uniform(0, math.pi))
    return (u.abs() < random.uniform(least, most)) & (v.abs() < random.uniform(least, most))


def _placed(size: int, random: Random) -> tuple[Tensor, Tensor]:
    """Return rotated coordinates about a random point."""
    u, v = _axes(size, random.uniform(0, math.pi))
    return u - random.uniform(-0.7, 0.7), v - random.uniform(-0.7, 0.7)


def _disc(size: int, random: Random) -> Tensor:
    u, v = _placed(size, random)
    radius = 0.02 * 15 ** random.uniform()
    return (u / radius) ** 2 + (v / (radius * random.uniform(0.5, 1))) ** 2 < 1


def _small_box(size: int, random: Random) -> Tensor:
    u, v = _placed(size, random)
    return (u.abs() < random.uniform(0.02, 0.25)) & (v.abs() < random.uniform(0.02, 0.25))


def _bars(size: int, random: Random) -> Tensor:
    u, v = _placed(size, random)
    period = random.uniform(0.03, 0.12)
    inside = (u.abs() < random.uniform(0.08, 0.3)) & (v.abs() < random.uniform(0.05, 0.2))
    return inside & ((u / period).remainder(1) < 0.5)


def _dots(size: int, random: Random) -> Tensor:
    u, v = _placed(size, random)
    period = random.uniform(0.04, 0.15)
    inside = (u.abs() < random.uniform(0.1, 0.3)) & (v.abs() < random.uniform(0.1, 0.3))
    near_u, near_v = (u / period).remainder(1) - 0.5, (v / period).remainder(1) - 0.5
    return inside & (near_u**2 + near_v**2 < random.uniform(0.05, 0.15))
