"""Finds the calibration region: the centred box of k-space that is fully sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def calibration_region(mask: Tensor | NDArray[np.bool_], spatial_ndim: int) -> tuple[int, ...]:
    """Return the widths of the largest centred, fully sampled box, grown evenly along all axes.

    Parameters
    ----------
    mask
        (..., *spatial) bool; a sample counts if all leading indices have it.
    spatial_ndim
        Number of spatial axes, 2 or 3.

    Returns
    -------
    tuple of int
        One width per axis; all 0 if the centre is not sampled. The box begins at N//2 - width//2.
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


def one_sided_shift(mask: Tensor, spatial_ndim: int, width: int) -> tuple[int, ...]:
    """Return the shift of k-space that centres a sampled box at the edge of the centre.

    The centre of a half echo is sampled on one side only, so that no centred box is wide. Methods
    that use only the relations between neighbouring samples, as ESPIRiT does, can use a box of the
    given width that still contains the centre and lies as near to it as possible: rolling k-space
    changes the phase of all coil images by the same factor.

    Parameters
    ----------
    mask, spatial_ndim
        See :func:`calibration_region`.
    width
        The width that the box should have along every axis.

    Returns
    -------
    tuple of int
        For ``torch.roll``, one number per axis; 0 where the centred box is wide enough.
    """
    sampled: Any = mask.reshape(-1, *mask.shape[mask.ndim - spatial_ndim :]).all(0)
    widths = calibration_region(sampled, spatial_ndim)
    if min(widths) < 1:
        return (0,) * spatial_ndim
    shifts = []
    for axis, size in enumerate(sampled.shape):
        if widths[axis] >= width:
            shifts.append(0)
            continue
        others = [size if i == axis else min(w, width) for i, w in enumerate(widths)]
        along = _box(sampled, others).movedim(axis, 0).flatten(1).all(1).tolist()
        first = last = size // 2
        while first > 0 and along[first - 1]:
            first -= 1
        while last + 1 < size and along[last + 1]:
            last += 1
        found = min(width, last - first + 1)
        centred = size // 2 - found // 2
        shifts.append(centred - min(max(centred, first), last - found + 1))
    return tuple(shifts)


def calibration_regions(masks: Tensor, largest: int) -> Tensor:
    """Return the widths of :func:`calibration_region` of several masks, limited to ``largest``.

    It computes only with tensors, so that a traced or exported graph finds the region of the masks
    that it is given later.

    Parameters
    ----------
    masks
        (batch, *spatial) bool.
    largest
        Upper limit of all widths.

    Returns
    -------
    Tensor
        (batch, axis) int64.
    """
    import torch

    sizes = [min(largest, size) for size in masks.shape[1:]]
    # An axis that still grows here has passed the limit, so places outside are not checked.
    missing = ~masks[(slice(None), *_centre(masks.shape[1:], sizes))]
    needed = _needed_widths(sizes, masks.device)
    found = [masks.new_ones(len(masks), dtype=torch.int64) for _ in sizes]
    grows = [masks.new_ones(len(masks)) for _ in sizes]

    def has_all(widths: list[Tensor]) -> Tensor:
        inside = missing
        for width, least in zip(widths, needed, strict=True):
            inside = inside & (least <= width.reshape(-1, *[1] * len(sizes)))
        return ~inside.flatten(1).any(1)

    is_sampled = has_all(found)
    for width in range(2, max(sizes) + 1):
        for axis in (axis for axis, size in enumerate(sizes) if width <= size):
            wider = [one + 1 if i == axis else one for i, one in enumerate(found)]
            grows[axis] = grows[axis] & has_all(wider)
            found[axis] = torch.where(grows[axis], wider[axis], found[axis])
    return torch.stack(found, 1) * is_sampled[:, None]


def has_calibration_region(mask: Tensor, width: int) -> bool:
    """Return whether :func:`calibration_region` of one slice is at least ``width`` on all axes.

    ``mask`` is (*spatial) bool. Only one box is checked, so this is fast.
    """
    if width > min(mask.shape):
        return False
    return bool(_box(mask, [width] * mask.ndim).all())


def _needed_widths(sizes: list[int], device: torch.device) -> list[Tensor]:
    """Return the smallest width of a centred box that holds each place, one tensor per axis."""
    import torch

    needed = []
    for axis, size in enumerate(sizes):
        place = torch.arange(size, device=device) - size // 2
        width = torch.where(place < 0, -2 * place, 2 * place + 1)
        needed.append(width.reshape(-1, *[1] * (len(sizes) - axis - 1)))
    return needed


def _box(sampled: Any, widths: list[int]) -> Any:
    """Return the centred box of the given widths."""
    return sampled[_centre(sampled.shape, widths)]


def _centre(shape: Sequence[int], widths: Sequence[int]) -> tuple[slice, ...]:
    """Return the indices of the centred box of the given widths."""
    return tuple(
        slice(size // 2 - width // 2, size // 2 - width // 2 + width)
        for size, width in zip(shape, widths, strict=True)
    )
