"""The undecimated Haar transform: shift-invariant and a Parseval frame on any size.

Level j splits the averages a of the level before, on every axis, into (a_n + a_{n+d}) / 2 and
(a_n - a_{n+d}) / 2 with the distance d = 2^(j-1), indices modulo the size. Since
|a + b|^2 + |a - b|^2 = 2 |a|^2 + 2 |b|^2, every level preserves the energy: W^H W = identity.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.frame import Frame


class StationaryWavelet(Frame):
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
        super().__init__(spatial_shape, bands)
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

    def _analyse(self, planes: Tensor) -> Tensor:
        ndim = len(self.domain_shape)
        coefficients = planes.new_empty(*planes.shape[:-ndim], *self.codomain_shape)
        averages = planes
        for level in range(self.levels):
            bands = averages.unsqueeze(-ndim - 1) * 0.5**ndim
            for axis in range(-ndim, 0):
                bands = _split(bands, axis, 2**level, ndim)
            averages, details = bands.select(-ndim - 1, 0), bands.narrow(-ndim - 1, 1, 2**ndim - 1)
            coefficients.narrow(-ndim - 1, self._first(level), 2**ndim - 1).copy_(details)
        coefficients.select(-ndim - 1, 0).copy_(averages)
        return coefficients

    def _synthesise(self, coefficients: Tensor) -> Tensor:
        ndim = len(self.domain_shape)
        averages = coefficients.narrow(-ndim - 1, 0, 1)
        for level in reversed(range(self.levels)):
            details = coefficients.narrow(-ndim - 1, self._first(level), 2**ndim - 1)
            bands = torch.cat([averages, details], dim=-ndim - 1)
            for axis in reversed(range(-ndim, 0)):
                bands = _merge(bands, axis, 2**level, ndim)
            averages = bands * 0.5**ndim
        return averages.squeeze(-ndim - 1)

    def _first(self, level: int) -> int:
        """Return the first band of the details of a level, counted from 0 for the finest."""
        return 1 + (2 ** len(self.domain_shape) - 1) * (self.levels - 1 - level)

    def extra_repr(self) -> str:
        """Return levels and shape, for printing."""
        return f"haar, levels={self.levels}, {self.domain_shape}"


def _split(bands: Tensor, axis: int, distance: int, ndim: int) -> Tensor:
    """Return the sums of all bands, then their differences, along the band axis."""
    size = bands.shape[axis]
    wrapped = torch.cat([bands, bands.narrow(axis, 0, distance)], dim=axis)
    here, ahead = wrapped.narrow(axis, 0, size), wrapped.narrow(axis, distance, size)
    return torch.cat([here + ahead, here - ahead], dim=-ndim - 1)


def _merge(bands: Tensor, axis: int, distance: int, ndim: int) -> Tensor:
    """Return the adjoint of :func:`_split`."""
    sums, differences = bands.chunk(2, dim=-ndim - 1)
    shares = sums - differences
    size = shares.shape[axis]
    behind = torch.cat(
        [shares.narrow(axis, size - distance, distance), shares.narrow(axis, 0, size - distance)],
        dim=axis,
    )
    return sums + differences + behind
