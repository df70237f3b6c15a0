"""The smooth phase of an image, from the centre of k-space, and its derivative."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.calibration.region import calibration_region
from firenet_mri.calibration.windows import hann_window
from firenet_mri.operators import encoding_operator

# Where the low-resolution image is darker than this share of its brightest, its phase is noise.
_SIGNAL = 1e-3
# Samples along an axis that make a reference phase; 12 and 24 were as good.
_REFERENCE = 16


def low_resolution_phase(kspace: Tensor, maps: Tensor, widths: Sequence[int]) -> Tensor:
    """Return exp(i phase) of the image from a Hann window of the centre of k-space.

    Parameters
    ----------
    kspace
        (..., coil, *spatial) complex, zero where not sampled.
    maps
        Sensitivity maps of the same shape.
    widths
        Sizes of the centre, one per spatial axis.

    Returns
    -------
    Tensor
        (..., *spatial) complex of modulus 1; 0 where there is no signal.
    """
    return PhaseOfCentre(kspace, maps, widths).phase


def reference_phase(kspace: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """Return the phase of a smooth image by which maps are rotated, of modulus 1 everywhere.

    Estimated maps have a phase by convention. If they include the phase of the image at low
    resolution, the rest of the image is nearly real and sparser, which gains 0.1 to 0.5 dB on real
    scans (docs/performance_details.md).

    Parameters
    ----------
    kspace, maps
        See :func:`low_resolution_phase`; of one item, (coil, *spatial).
    mask
        (..., 1, *spatial) bool. Up to 16 samples of the sampled centre are used along each axis,
        the same number along all axes.

    Returns
    -------
    Tensor
        (*spatial) complex; 1 where there is no signal.
    """
    ndim = maps.ndim - 1
    width = min(*calibration_region(mask, ndim), _REFERENCE)
    if width < 1:
        return torch.ones_like(maps[0])
    phase = low_resolution_phase(kspace, maps, [width] * ndim)
    return torch.where(phase == 0, torch.ones_like(phase), phase)


class PhaseOfCentre:
    """The phase that :func:`low_resolution_phase` returns, and its derivative by k-space.

    With I the low-resolution image, which is linear in k-space, u = I / |I| changes by
    i u Im(u* dI) / |I|. Where there is no signal u stays 0.

    Parameters
    ----------
    kspace, maps, widths
        See :func:`low_resolution_phase`.
    """

    def __init__(self, kspace: Tensor, maps: Tensor, widths: Sequence[int]) -> None:
        self._window = hann_window(kspace.shape[-len(widths) :], widths).to(kspace.real)
        self._encoding = encoding_operator(None, maps, len(widths))
        image = self._encoding.adjoint(kspace * self._window)
        modulus = image.abs()
        axes = tuple(range(-len(widths), 0))
        floor = _SIGNAL * modulus.amax(axes, keepdim=True)
        known = (modulus > floor) & (modulus > 0)
        self._modulus = torch.where(known, modulus, 1)
        self.phase = torch.where(known, image / self._modulus, 0)

    def forward(self, u: Tensor) -> Tensor:
        """Return the change of the phase for a change u of k-space."""
        return self._turned(self._encoding.adjoint(u * self._window))

    def transpose(self, phase: Tensor) -> Tensor:
        """Return the transpose of :meth:`forward` applied to a phase, of k-space's shape."""
        back: Tensor = self._encoding(self._turned(phase))
        return back * self._window

    def _turned(self, image: Tensor) -> Tensor:
        """Return i u Im(u* image) / |I|: a symmetric map."""
        return 1j * self.phase * (self.phase.conj() * image).imag / self._modulus
