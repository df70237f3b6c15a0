"""The common part of undecimated wavelet transforms: bands in dyadic levels, and their norms."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.frame import Frame
from firenet_mri.plurals import counted


class DyadicFrame(Frame):
    """A Parseval frame whose levels split the averages of the level before, without decimation.

    Band 0 holds the averages of the last level. The 2^ndim - 1 detail bands of each level follow,
    from the coarsest level to the finest.

    Parameters
    ----------
    levels
        Number of levels, at least 1, with 2^levels no larger than any size.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, odd ones included.
    taps
        Length of the filters.
    filters
        The pair of filters, (2, taps), of one level.

    Raises
    ------
    UsageError
        If the size does not allow this number of levels.
    """

    is_parseval = True
    average_bands = (0,)

    def __init__(
        self, levels: int, spatial_shape: Shape, taps: int, filters: Tensor | None = None
    ) -> None:
        allowed = min(spatial_shape).bit_length() - 1
        if not 1 <= levels <= allowed:
            raise UsageError(
                f"{counted(levels, 'wavelet level')} requested; an image of size "
                f"{tuple(spatial_shape)} allows 1 to {allowed}"
            )
        bands = 1 + levels * (2 ** len(spatial_shape) - 1)
        reach = (taps - 1) * (2**levels - 1)
        super().__init__(
            spatial_shape, bands, reach=reach, filters=filters if levels == 1 else None
        )
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
        """(band, 1, ...) float64: norm of each band's wavelets; white noise has that deviation.

        Exact if no wavelet is longer than the image.
        """
        # A level halves the energy along every axis; averages are as large as the coarsest details.
        depth = self.levels + 1 - self.band_levels.clamp(min=1)
        return 2.0 ** (-len(self.domain_shape) * depth.double() / 2)
