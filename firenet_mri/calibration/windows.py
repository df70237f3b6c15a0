"""Windows of the centre of k-space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def hann_window(shape: Sequence[int], widths: Sequence[int] | Tensor) -> Tensor:
    """Return the product of Hann windows of given widths, (*shape) real, 0 outside the centre.

    Widths in a tensor (*batch, axis) give (*batch, *shape).

    Parameters
    ----------
    shape
        Sizes of the axes.
    widths
        Sizes of the centre along the axes; the window ends just outside it.
    """
    sizes = torch.as_tensor(widths)
    window = torch.ones(tuple(shape), device=sizes.device)
    for axis, size in enumerate(shape):
        half = (sizes[..., axis, None] + 1) / 2
        offset = (torch.arange(size, device=sizes.device) - size // 2) / half
        line = torch.cos(math.pi / 2 * offset).square() * (offset.abs() < 1)
        after = len(shape) - axis - 1
        window = window * line.reshape(*line.shape[:-1], *[1] * axis, size, *[1] * after)
    return window
