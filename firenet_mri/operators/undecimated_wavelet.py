"""Undecimated transforms of all orthogonal wavelets: shift-invariant, Parseval frames on any size.

Level j filters the averages of the level before, on every axis, with the wavelet's two filters over
sqrt(2), taps 2^(j-1) pixels apart, periodic ends ("a trous"). The filters of an orthogonal wavelet
obey |H|^2 + |G|^2 = 2, so that every level preserves the energy: W^H W = identity.

The Haar wavelet has a faster class of its own, :class:`StationaryWavelet`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.base import Shape
from firenet_mri.operators.circular_filters import analyse, separable, synthesise
from firenet_mri.operators.dyadic_frame import DyadicFrame
from firenet_mri.operators.wavelets import orthogonal_filters


class UndecimatedWavelet(DyadicFrame):
    """W: images (*spatial) to undecimated coefficients (band, *spatial), W^H W = identity.

    Band 0 holds the averages of the last level. The 2^ndim - 1 detail bands of each level follow,
    from the coarsest level to the finest. The coefficients are those of
    ``pywt.swtn(x, name, levels, trim_approx=True, norm=True)``, with filters of L taps moved by
    (L / 2 - 1) (2^j - 1) towards lower indices at level j, 1 the finest: c[n] uses x from n on.

    Parameters
    ----------
    name
        An orthogonal family of PyWavelets: "db2", "sym4", ...
    levels
        Number of levels, at least 1, with 2^levels no larger than any size.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, odd ones included.

    Raises
    ------
    UsageError
        If the wavelet is unknown or not orthogonal, or has too many levels for the size.
    """

    kernels: Tensor

    def __init__(self, name: str, levels: int, spatial_shape: Shape) -> None:
        # pywt convolves; a correlation has the taps in the other order.
        filters = np.stack(orthogonal_filters(name))[:, ::-1] / 2**0.5
        super().__init__(levels, spatial_shape, filters.shape[1])
        self.name = name
        kernels = separable(torch.from_numpy(filters.copy()), len(spatial_shape))
        self.register_buffer("kernels", kernels, persistent=False)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        ndim = len(self.domain_shape)
        rows = planes.shape[-ndim] - (self._slab_reach if is_slab else 0)
        averages, details = planes, []
        for level in range(self.levels):
            bands = analyse(averages, self.kernels, 2**level, is_slab=is_slab)
            averages = bands.select(-ndim - 1, 0)
            bands = bands.narrow(-ndim - 1, 1, bands.shape[-ndim - 1] - 1)
            details.append(bands.narrow(-ndim, 0, rows))
        return torch.cat([averages.unsqueeze(-ndim - 1), *reversed(details)], dim=-ndim - 1)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        ndim = len(self.domain_shape)
        count = 2**ndim - 1
        averages = coefficients.narrow(-ndim - 1, 0, 1)
        for level in reversed(range(self.levels)):
            first = 1 + count * (self.levels - 1 - level)
            details = coefficients.narrow(-ndim - 1, first, count)
            missing = averages.shape[-ndim] - details.shape[-ndim]
            if missing:
                details = torch.nn.functional.pad(details, [0] * (2 * ndim - 1) + [missing])
            bands = torch.cat([averages, details], dim=-ndim - 1)
            merged = synthesise(bands, self.kernels, 2**level, is_slab=is_slab)
            averages = merged.unsqueeze(-ndim - 1)
        return averages.squeeze(-ndim - 1)

    @property
    def _slab_reach(self) -> int:
        assert self.reach is not None
        return self.reach

    def extra_repr(self) -> str:
        """Return name, levels and shape, for printing."""
        return f"{self.name}, levels={self.levels}, {self.domain_shape}"
