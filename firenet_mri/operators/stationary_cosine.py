"""The undecimated cosine transform: every n x n block of an image, from every shift, by the DCT-II.

The blocks of one grid are an orthogonal transform, and there are n^ndim grids. With the factor
n^(-ndim/2) the energy is therefore preserved: W^H W = identity, on any size, with periodic ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.circular_filters import analyse, separable, synthesise
from firenet_mri.operators.frame import Frame


class StationaryCosine(Frame):
    """W: images (*spatial) to block cosine coefficients (band, *spatial), W^H W = identity.

    The coefficients at a pixel are those of the block that begins there. Band 0 is the block's
    mean; frequencies then rise, along the first axis first.

    Parameters
    ----------
    block
        n, the side of a block in pixels, at least 2.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes.

    Raises
    ------
    UsageError
        If a block is larger than the image, or smaller than 2.
    """

    is_parseval = True
    average_bands = (0,)
    kernels: Tensor

    def __init__(self, block: int, spatial_shape: Shape) -> None:
        if not 2 <= block <= min(spatial_shape):
            raise UsageError(
                f"Cosine blocks of size {block} requested; an image of size "
                f"{tuple(spatial_shape)} allows 2 to {min(spatial_shape)}"
            )
        ndim = len(spatial_shape)
        filters = _cosines(block) / block**0.5
        super().__init__(spatial_shape, block**ndim, reach=block - 1, filters=filters)
        self.block = block
        self.register_buffer("kernels", separable(filters, ndim), persistent=False)

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's functions, all n^(-ndim/2)."""
        ndim = len(self.domain_shape)
        norms = torch.full(self.codomain_shape[:1], self.block ** (-ndim / 2), dtype=torch.float64)
        return norms.reshape(-1, *[1] * ndim)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        return analyse(planes, self.kernels, 1, is_slab=is_slab)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        return synthesise(coefficients, self.kernels, 1, is_slab=is_slab)

    def extra_repr(self) -> str:
        """Return block and shape, for printing."""
        return f"block={self.block}, {self.domain_shape}"


def _cosines(size: int) -> Tensor:
    """Return the orthonormal DCT-II, (frequency, sample) float64."""
    frequency = torch.arange(size, dtype=torch.float64).unsqueeze(1)
    sample = torch.arange(size, dtype=torch.float64) + 0.5
    rows = torch.cos(torch.pi / size * frequency * sample) * (2 / size) ** 0.5
    rows[0] /= 2**0.5
    return rows
