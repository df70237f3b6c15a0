"""The centred unitary Fourier transform of tensors; the origin is at index N//2 in both domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def centred_fft(image: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the transform along ``axes``, from images to k-space; contiguous."""
    dim = tuple(axes)
    shifted = torch.fft.ifftshift(image, dim=dim)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=dim, norm="ortho"), dim=dim).contiguous()


def centred_ifft(kspace: Tensor, axes: Sequence[int]) -> Tensor:
    """Return the inverse transform along ``axes``, from k-space to images; contiguous."""
    dim = tuple(axes)
    shifted = torch.fft.ifftshift(kspace, dim=dim)
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=dim, norm="ortho"), dim=dim).contiguous()
