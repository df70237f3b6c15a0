"""Sparsifiers by name, as the command line and the MONAI faces take them."""

from __future__ import annotations

import math

from firenet_mri.operators.base import Shape
from firenet_mri.operators.stationary_wavelet import StationaryWavelet
from firenet_mri.operators.wavelets import OrthogonalWavelet

UNDECIMATED_HAAR = "undecimated-haar"


def make_sparsifier(
    name: str, spatial_shape: Shape, levels: int | None = None
) -> StationaryWavelet | OrthogonalWavelet:
    """Return the sparsifier of that name for images of a size.

    Parameters
    ----------
    name
        "undecimated-haar", or an orthogonal wavelet of PyWavelets: "haar", "db4", "sym4", ...
    spatial_shape
        Sizes of the 2 or 3 spatial axes.
    levels
        Number of levels; None takes 3 undecimated or 4 decimated ones, fewer on small images.

    Raises
    ------
    UsageError
        If the name is unknown or the size does not allow so many levels.
    """
    allowed = int(math.log2(min(spatial_shape)))
    if name == UNDECIMATED_HAAR:
        return StationaryWavelet(levels or max(1, min(3, allowed)), spatial_shape)
    return OrthogonalWavelet(name, levels or max(1, min(4, allowed - 1)), spatial_shape)
