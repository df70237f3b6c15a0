"""The undecimated Haar transform: shift-invariant and a Parseval frame on any size.

Level j splits the averages a of the level before, on every axis, into (a_n + a_{n+d}) / 2 and
(a_n - a_{n+d}) / 2 with the distance d = 2^(j-1), indices modulo the size. Since
|a + b|^2 + |a - b|^2 = 2 |a|^2 + 2 |b|^2, every level preserves the energy: W^H W = identity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import LinearOperator, Shape


class StationaryWavelet(LinearOperator):
    """W: images (*spatial) to undecimated Haar coefficients (band, *spatial), W^H W = identity.

    Band 0 holds the averages of the last level; then come the 2^ndim - 1 detail bands of the
    coarsest level, and so on to the finest.

    Parameters
    ----------
    levels
        Number of levels, at least 1, with 2^levels no larger than any size.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, odd ones included.

    Raises
    ------
    UsageError
        If the size does not allow so many levels.
    """

    is_parseval = True

    def __init__(self, levels: int, spatial_shape: Shape) -> None:
        ndim = len(spatial_shape)
        allowed = min(spatial_shape).bit_length() - 1
        if not 1 <= levels <= allowed:
            raise UsageError(
                f"{levels} wavelet levels asked for; an image of size {tuple(spatial_shape)} "
                f"allows 1 to {allowed}"
            )
        bands = 1 + levels * (2**ndim - 1)
        super().__init__(spatial_shape, (bands, *spatial_shape), 1.0)
        self.levels = levels

    @property
    def band_levels(self) -> Tensor:
        """(band, 1, ...) int64: 0 for averages, 1 for the coarsest details up to ``levels``."""
        ndim = len(self.domain_shape)
        details = torch.arange(1, self.levels + 1).repeat_interleave(2**ndim - 1)
        bands = torch.cat([torch.zeros(1, dtype=torch.int64), details])
        return bands.reshape(-1, *[1] * ndim)

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's wavelets; white noise has that deviation."""
        ndim = len(self.domain_shape)
        # A level halves the energy along every axis; averages are as large as the coarsest details.
        depth = self.levels + 1 - self.band_levels.clamp(min=1)
        return 2.0 ** (-ndim * depth.double() / 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the coefficients W x, (..., band, *spatial)."""
        self.check_domain(x)
        ndim = len(self.domain_shape)
        averages = x
        details: list[Tensor] = []
        for level in range(self.levels):
            bands = [averages]
            for axis in range(-ndim, 0):
                shifted = [band.roll(-(2**level), axis) for band in bands]
                sums = [band + shift for band, shift in zip(bands, shifted, strict=True)]
                bands = sums + [band - shift for band, shift in zip(bands, shifted, strict=True)]
            averages, *finer = (band * 0.5**ndim for band in bands)
            details = finer + details
        return torch.stack([averages, *details], dim=-ndim - 1)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return W^H y, which is also the least-squares inverse."""
        self.check_codomain(y)
        ndim = len(self.domain_shape)
        averages, *details = y.unbind(-ndim - 1)
        count = 2**ndim - 1
        for level in reversed(range(self.levels)):
            bands = [averages, *details[:count]]
            details = details[count:]
            for axis in reversed(range(-ndim, 0)):
                half = len(bands) // 2
                pairs = list(zip(bands[:half], bands[half:], strict=True))
                bands = [s + d + (s - d).roll(2**level, axis) for s, d in pairs]
            averages = bands[0] * 0.5**ndim
        return averages

    def extra_repr(self) -> str:
        """Return levels and shape, for printing."""
        return f"haar, levels={self.levels}, {self.domain_shape}"
