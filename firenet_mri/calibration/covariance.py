"""The covariance of the coils over all samples, without a second array in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 20


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
