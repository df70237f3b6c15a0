"""Differences of neighbouring pixels, whose joint modulus is the isotropic total variation.

(W x)_i = (x_{n + e_i} - x_n) / (2 sqrt(ndim)), indices modulo the size. W^H W is a convolution; it
multiplies the frequency k by sum_i sin^2(pi k_i / N_i) / ndim, at most 1, and 0 for constants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.circular_filters import analyse, synthesise
from firenet_mri.operators.frame import Frame


class FiniteDifference(Frame):
    """W: images (*spatial) to differences along every axis, (ndim, *spatial), of norm at most 1.

    The differences of a pixel are penalised together: sum_n (sum_i |(W x)_i,n|^2)^(1/2).

    Parameters
    ----------
    spatial_shape
        Sizes of the 1, 2 or 3 axes, each at least 2.

    Raises
    ------
    UsageError
        If an axis is shorter than 2.
    """

    annihilates_constants = True
    kernels: Tensor

    def __init__(self, spatial_shape: Shape) -> None:
        if min(spatial_shape) < 2:
            raise UsageError(
                f"Total variation requested of an image of size {tuple(spatial_shape)}; every axis "
                "needs at least 2 pixels"
            )
        ndim = len(spatial_shape)
        super().__init__(spatial_shape, ndim, reach=1)
        self.groups = (ndim,)
        kernels = torch.zeros(ndim, 2**ndim, dtype=torch.float64)
        kernels[:, 0] = -1
        for axis in range(ndim):
            kernels[axis, 2 ** (ndim - 1 - axis)] = 1
        kernels = kernels.reshape(ndim, *[2] * ndim) / (2 * ndim**0.5)
        self.register_buffer("kernels", kernels, persistent=False)

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's functions, all 1 / sqrt(2 ndim)."""
        ndim = len(self.domain_shape)
        return torch.full((ndim, *[1] * ndim), (2 * ndim) ** -0.5, dtype=torch.float64)

    def gram_symbol(self) -> Tensor:
        """Return the eigenvalues of W^H W at the frequencies of the FFT, (*spatial) float64."""
        ndim = len(self.domain_shape)
        total = torch.zeros(self.domain_shape, dtype=torch.float64, device=self.kernels.device)
        for axis, size in enumerate(self.domain_shape):
            angle = torch.pi * torch.arange(size, dtype=torch.float64, device=total.device) / size
            total += (angle.sin() ** 2 / ndim).reshape(-1, *[1] * (ndim - 1 - axis))
        return total

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        return analyse(planes, self.kernels, 1, is_slab=is_slab)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        return synthesise(coefficients, self.kernels, 1, is_slab=is_slab)
