"""A Parseval frame of any 2D filters, such as learned ones, proven when it is made.

The filters come from :mod:`firenet_mri.operators.paraunitary`, so that W^H W = identity except for
rounding. This deviation is computed exactly from the stored filters and is part of the norm bound.
A frame with a larger deviation is refused.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.circular_filters import analyse, synthesise
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.paraunitary import norm_bound, parseval_deviation

# Rounding of a cascade of dozens of bands stays far below; a frame beyond it is not Parseval.
LARGEST_DEVIATION = Fraction(1, 10**12)


class LearnedFrame(Frame):
    """W: images (y, x) to bands (band, y, x), each the image correlated with a filter.

    Parameters
    ----------
    kernels
        (band, *taps) float64, multiples of 2^-60
        (:func:`~firenet_mri.operators.paraunitary.rounded`). If they require gradients, gradients
        are propagated to them, for training.
    spatial_shape
        (y, x).
    groups
        Numbers of successive bands that are penalised together by the Euclidean norm; None
        penalises each by itself.
    deviation
        The result of :func:`~firenet_mri.operators.paraunitary.parseval_deviation` for these
        kernels; None computes it.

    Raises
    ------
    UsageError
        If there are not two axes, the proven deviation of the filters from a Parseval frame is
        1e-12 or more, or the groups do not fit.
    """

    is_parseval = True
    compares_bands = True
    kernels: Tensor

    def __init__(
        self,
        kernels: Tensor,
        spatial_shape: Shape,
        groups: tuple[int, ...] | None = None,
        deviation: Fraction | None = None,
    ) -> None:
        if kernels.ndim != 3 or len(spatial_shape) != 2:
            raise UsageError(
                f"A learned frame is for 2D images; filters of shape {tuple(kernels.shape)} were "
                f"given for images of shape {tuple(spatial_shape)}"
            )
        if groups is not None and (sum(groups) != len(kernels) or min(groups) < 1):
            raise UsageError(f"Groups of {groups} bands requested; there are {len(kernels)} bands")
        found = parseval_deviation(kernels) if deviation is None else deviation
        if found > LARGEST_DEVIATION:
            raise UsageError(
                f"These filters are not a Parseval frame: W^H W may differ from the identity by "
                f"{float(found):.2g}, more than {float(LARGEST_DEVIATION):g}"
            )
        reach = kernels.shape[1] - 1
        super().__init__(spatial_shape, len(kernels), norm_bound(found), reach=reach)
        self.deviation = found
        self.groups = groups
        self.is_trained = kernels.requires_grad
        self.register_buffer("kernels", kernels, persistent=False)

    @property
    def band_norms(self) -> Tensor:
        """(band, 1, 1) float64: norm of each band's functions."""
        return torch.linalg.vector_norm(self.kernels.detach(), dim=(1, 2), keepdim=True)

    def _analyse(self, planes: Tensor, *, is_slab: bool = False) -> Tensor:
        if self.is_trained and not is_slab:
            spectra = self._spectra(planes).conj() * torch.fft.rfft2(planes).unsqueeze(-3)
            return torch.fft.irfft2(spectra, self.domain_shape)
        return analyse(planes, self.kernels, 1, is_slab=is_slab)

    def _synthesise(self, coefficients: Tensor, *, is_slab: bool = False) -> Tensor:
        if self.is_trained and not is_slab:
            spectra = self._spectra(coefficients) * torch.fft.rfft2(coefficients)
            return torch.fft.irfft2(spectra.sum(-3), self.domain_shape)
        return synthesise(coefficients, self.kernels, 1, is_slab=is_slab)

    def _spectra(self, like: Tensor) -> Tensor:
        """Return the filters' transforms, which reduce a training step to a third of the time."""
        (ny, nx), (_, *taps) = self.domain_shape, self.kernels.shape
        padded = F.pad(self.kernels.to(like), (0, -taps[1] % nx, 0, -taps[0] % ny))
        # Taps separated by the length of the image act on the same pixel.
        folded = padded.unflatten(1, (-1, ny)).sum(1).unflatten(2, (-1, nx)).sum(2)
        return torch.fft.rfft2(folded)

    def extra_repr(self) -> str:
        """Return filters and shape, for printing."""
        bands, *taps = self.kernels.shape
        return f"{bands} filters of {taps[0]} x {taps[1]}, {self.domain_shape}"
