"""Finds the calibration region: the centred box of k-space that is fully sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def calibration_region(mask: Tensor | NDArray[np.bool_], spatial_ndim: int) -> tuple[int, ...]:
    """Return the widths of the largest centred, fully sampled box, grown evenly along all axes.

    Parameters
    ----------
    mask
        (..., *spatial) bool; a sample counts where every leading index has it.
    spatial_ndim
        Number of spatial axes, 2 or 3.

    Returns
    -------
    tuple of int
        One width an axis; all 0 if the centre is not sampled. The box begins at N//2 - width//2.
    """
    sampled: Any = mask.reshape(-1, *mask.shape[mask.ndim - spatial_ndim :]).all(0)
    shape = sampled.shape
    widths = [1] * spatial_ndim
    if not bool(_box(sampled, widths).all()):
        return (0,) * spatial_ndim
    growing = set(range(spatial_ndim))
    while growing:
        for axis in sorted(growing):
            wider = [width + (i == axis) for i, width in enumerate(widths)]
            if wider[axis] <= shape[axis] and bool(_box(sampled, wider).all()):
                widths = wider
            else:
                growing.discard(axis)
    return tuple(widths)


def has_calibration_region(mask: Tensor, width: int) -> bool:
    """Return whether :func:`calibration_region` of one slice is at least so wide along every axis.

    ``mask`` is (*spatial) bool. It looks at one box, and so takes no time.
    """
    if width > min(mask.shape):
        return False
    return bool(_box(mask, [width] * mask.ndim).all())


def _box(sampled: Any, widths: list[int]) -> Any:
    """Return the centred box of the given widths."""
    box = (
        slice(size // 2 - width // 2, size // 2 - width // 2 + width)
        for size, width in zip(sampled.shape, widths, strict=True)
    )
    return sampled[tuple(box)]
