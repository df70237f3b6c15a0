"""Windows of the centre of k-space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def hann_window(shape: Sequence[int], widths: Sequence[int]) -> Tensor:
    """Return the product of Hann windows of some widths, (*shape) real, 0 outside of the centre.

    Parameters
    ----------
    shape
        Sizes of the axes.
    widths
        Sizes of the centre along them; the window ends just outside.
    """
    window = torch.ones(tuple(shape))
    for axis, (size, width) in enumerate(zip(shape, widths, strict=True)):
        offset = (torch.arange(size) - size // 2) / ((width + 1) / 2)
        line = torch.cos(math.pi / 2 * offset).square() * (offset.abs() < 1)
        window = window * line.reshape(-1, *[1] * (len(shape) - axis - 1))
    return window
