"""The sampling masks of MONAI's and fastMRI's pipelines, in all their shapes, as one."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import records_graph
from firenet_mri.scan import sampled_mask


def sampling_mask(mask: Tensor | None, kspace: Tensor, spatial_dims: int) -> Tensor:
    """Return which samples of k-space were measured, (batch or 1, 1, *spatial) bool.

    Columns that the mask contains but that are zero in all coils do not count as measured: fastMRI
    pads k-space with such columns.

    Parameters
    ----------
    mask
        Any real dtype, not zero where sampled. Broadcasts from the right to (batch, 1, *spatial),
        with or without MONAI's last axis of size 1: (W,), (1, 1, W, 1), (1, 1, 1, W, 1),
        (B, 1, 1, W, 1), (B, 1, H, W, 1), (1, 1, 1, 1, D, 1), ... None, or for an item zeros
        everywhere as MONAI's ``FastMRIReader`` gives them for a file without a mask: found from the
        samples that are not zero.
    kspace
        (batch, coil, *spatial) complex.
    spatial_dims
        2 or 3.

    Raises
    ------
    ShapeError
        If the mask does not broadcast, or differs between coils.
    """
    if mask is None:
        return sampled_mask(kspace, spatial_dims)
    given = tuple(mask.shape)
    if mask.ndim > 1 and mask.shape[-1] == 1 and kspace.shape[-1] != 1:
        mask = mask[..., 0]
    mask = mask.to(kspace.device) != 0
    while mask.ndim > kspace.ndim and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim <= kspace.ndim:
        mask = mask.reshape((1,) * (kspace.ndim - mask.ndim) + tuple(mask.shape))
    wanted = (kspace.shape[0], 1, *kspace.shape[2:])
    fits = mask.ndim == kspace.ndim and all(
        found in (1, size) for found, size in zip(mask.shape, wanted, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"The mask has shape {given}; it must broadcast from the right to {wanted}, with or "
            "without a last axis of size 1: the same for all coils, for k-space of shape "
            f"{tuple(kspace.shape)}"
        )
    columns = (kspace != 0).any(dim=tuple(range(1, kspace.ndim - 1)), keepdim=True)
    sampled = mask.expand(mask.shape[0], 1, *kspace.shape[2:]) & columns
    is_absent = ~mask.any(dim=tuple(range(1, mask.ndim)), keepdim=True)
    if not records_graph():
        if not bool(is_absent.any()):
            return sampled
        warnings.warn(
            "The mask is zero everywhere; the samples that are not zero are taken as the measured "
            "ones",
            stacklevel=3,
        )
    return torch.where(is_absent, sampled_mask(kspace, spatial_dims), sampled)
