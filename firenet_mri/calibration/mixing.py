"""Multiplies the coils of every sample by a matrix, without a second array in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 20


def mix_coils(matrix: Tensor, kspace: Tensor, sample_ndim: int) -> Tensor:
    """Return k-space (..., rows, *samples) of k-space (..., coil, *samples).

    Parameters
    ----------
    matrix
        (rows, coil) complex128; the products are taken in double precision.
    kspace
        (..., coil, *samples) complex64 or complex128.
    sample_ndim
        Number of axes after the coil axis.
    """
    batch, samples = kspace.shape[: -sample_ndim - 1], kspace.shape[-sample_ndim:]
    flat = kspace.reshape(-1, kspace.shape[-sample_ndim - 1], samples.numel())
    mixed = flat.new_empty((len(flat), len(matrix), samples.numel()))
    for item, result in zip(flat, mixed, strict=True):
        for start in range(0, samples.numel(), _BLOCK):
            block = item[:, start : start + _BLOCK]
            result[:, start : start + _BLOCK] = matrix @ block.to(matrix.dtype)
    return mixed.reshape(*batch, len(matrix), *samples)


def coil_covariance(kspace: Tensor, sample_ndim: int) -> Tensor:
    """Return sum_k y_k y_k^H over all samples of (..., coil, *samples), complex128."""
    coils = kspace.shape[-sample_ndim - 1]
    flat = kspace.reshape(-1, coils, kspace.shape[-sample_ndim:].numel())
    total = torch.zeros((coils, coils), dtype=torch.complex128, device=kspace.device)
    for item in flat:
        for block in item.split(_BLOCK, dim=1):
            double = block.to(torch.complex128)
            total += double @ double.mH
    return total
