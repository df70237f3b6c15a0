"""Images for testing and training: the modified Shepp-Logan phantom, and random ellipses.

The phantom is Toft's modification [1] of the Shepp-Logan head phantom (higher contrast), on the
grid of MATLAB's ``phantom``: positions are linspace(-1, 1, size), including the border, with rows
from top to bottom. A pixel belongs to an ellipse if its position does, including the edge.

[1] P. A. Toft, "The Radon transform: theory and implementation", PhD thesis, Technical University
of Denmark, 1996, table B.3.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import UsageError

# Intensity added, half axes along x and y, centre x and y (y goes up), angle in degrees.
_SHEPP_LOGAN = np.array(
    [
        (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
        (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
        (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
        (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
        (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
        (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
        (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
        (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
        (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
        (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
    ]
)

# Ranges of random ellipses, in the order of the columns above: the field of view is [-1, 1].
_LOWEST = np.array((-0.4, 0.04, 0.04, -0.7, -0.7, 0.0))
_HIGHEST = np.array((0.6, 0.5, 0.5, 0.7, 0.7, 180.0))
_ELLIPSES_AN_IMAGE = 12


def shepp_logan(size: int) -> Tensor:
    """Return the modified Shepp-Logan phantom, (size, size) float64 in [0, 1].

    Raises
    ------
    UsageError
        If the size is less than 2.

    Examples
    --------
    >>> shepp_logan(256).max().item()
    1.0
    """
    _check_size(size)
    # The sum of 1, -0.8 and -0.2 is zero only up to rounding.
    return torch.from_numpy(_draw(size, _SHEPP_LOGAN)).clamp(0, 1)


def ellipses(size: int, count: int, seed: int) -> Tensor:
    """Return images of random overlapping ellipses, (count, size, size) float32 in [0, 1].

    Every image has 12 ellipses with random intensity, place, axes and angle; their sum is clipped
    to [0, 1]. Image i depends only on size, seed and i.

    Raises
    ------
    UsageError
        If the size is less than 2, the count less than 1, or the seed negative.

    Examples
    --------
    >>> ellipses(64, 3, seed=0).shape
    torch.Size([3, 64, 64])
    """
    _check_size(size)
    if count < 1:
        raise UsageError(f"{count} images requested; request at least 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be at least 0")
    uniform = np.random.default_rng(seed).random((count, _ELLIPSES_AN_IMAGE, len(_LOWEST)))
    parameters = _LOWEST + (_HIGHEST - _LOWEST) * uniform
    images = torch.empty(count, size, size)
    for image, table in zip(images, parameters, strict=True):
        image.copy_(torch.from_numpy(_draw(size, table)).clamp(0, 1))
    return images


def _draw(size: int, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the ellipses in a table, (size, size) float64, first row at the top."""
    position = (np.arange(size) - (size - 1) / 2) / ((size - 1) / 2)
    image = np.zeros((size, size))
    for intensity, a, b, x0, y0, degrees in table:
        angle = math.radians(degrees)
        x, y = position[None, :] - x0, position[::-1, None] - y0
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        image += intensity * (along**2 / a**2 + across**2 / b**2 <= 1)
    return image


def _check_size(size: int) -> None:
    if size < 2:
        raise UsageError(f"An image of size {size} was requested; the size must be at least 2")
