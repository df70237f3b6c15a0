"""The smooth phase of an image, from the centre of k-space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.calibration.windows import hann_window
from firenet_mri.operators import encoding_operator

# Where the low-resolution image is darker than this share of its brightest, its phase is noise.
_SIGNAL = 1e-3


def low_resolution_phase(kspace: Tensor, maps: Tensor, widths: Sequence[int]) -> Tensor:
    """Return exp(i phase) of the image that a Hann window of the centre gives.

    Parameters
    ----------
    kspace
        (..., coil, *spatial) complex, zero where not sampled.
    maps
        Sensitivity maps of the same shape.
    widths
        Sizes of the centre, one for each spatial axis.

    Returns
    -------
    Tensor
        (..., *spatial) complex of modulus 1; 0 where there is no signal to take a phase from.
    """
    window = hann_window(kspace.shape[-len(widths) :], widths).to(kspace.real)
    image = encoding_operator(None, maps, len(widths)).adjoint(kspace * window)
    modulus = image.abs()
    axes = tuple(range(-len(widths), 0))
    floor = _SIGNAL * modulus.amax(axes, keepdim=True)
    known = (modulus > floor) & (modulus > 0)
    return torch.where(known, image / torch.where(known, modulus, 1), 0)
