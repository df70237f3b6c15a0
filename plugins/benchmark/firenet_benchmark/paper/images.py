"""Puts an image of any size on the square grid that the experiments need."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError


def on_square_grid(image: Tensor) -> Tensor:
    """Return the magnitude of an image (y, x) on a square of the next power of two, float64.

    Zeros are added around it, and the largest value becomes 1.

    Raises
    ------
    ShapeError
        If the image is not a single one: axes other than the last two may only have size 1.
    DataError
        If it is zero everywhere.
    """
    if image.ndim < 2 or image.numel() != image.shape[-2:].numel():
        raise ShapeError(
            f"An image of shape {tuple(image.shape)} given; the experiment needs a single one, "
            "(y, x)"
        )
    magnitude = image.reshape(image.shape[-2:]).abs().double()
    if not magnitude.any():
        raise DataError("The image is zero everywhere; give one with something in it")
    size = 2 ** (max(2, *magnitude.shape) - 1).bit_length()
    square = torch.zeros(size, size, dtype=torch.float64)
    top, left = ((size - length) // 2 for length in magnitude.shape)
    square[top : top + magnitude.shape[0], left : left + magnitude.shape[1]] = magnitude
    return square / magnitude.max()
