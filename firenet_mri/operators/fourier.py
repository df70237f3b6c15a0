"""The centred, unitary, masked Fourier transform of Cartesian MRI.

    (F x)_k = N^{-1/2} sum_n x_n exp(-2 pi i <k - c, n - c> / N),   c = N // 2 on every axis,

times the sampling mask. This is the convention of SigPy, BART, MONAI and fastMRI. Centring is
folded into two factors, since explicit shifts cost several times the transform itself:

    exp(-2 pi i (k-c)(n-c)/N) = exp(-2 pi i c c/N) * e_k * e_n * exp(-2 pi i k n/N),
    e_n = exp(2 pi i c n/N);

for even N e_n is the checkerboard sign (-1)^n.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Part, Shape, records_graph


class CartesianFourier(LinearOperator):
    """P F: the centred unitary FFT over the last axes, then the sampling mask.

    Parameters
    ----------
    mask
        bool (or 0/1), broadcasts from the right against (..., *spatial_shape); True where sampled.
        Leading axes are allowed, for masks that differ between items: (batch, 1, *spatial) fits
        k-space (batch, coil, *spatial). None: fully sampled.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, odd ones included.

    Notes
    -----
    ``norm_bound`` is 1: a mask is a projection and F is unitary.
    """

    mask: Tensor
    image_factor: Tensor
    kspace_factor: Tensor

    def __init__(self, mask: Tensor | None, spatial_shape: Shape) -> None:
        super().__init__(spatial_shape, spatial_shape, 1.0)
        self.made_from = (Part("sampling mask"),)
        if mask is None:
            mask = torch.ones(spatial_shape, dtype=torch.bool)
        check_mask(mask, self.domain_shape)
        self.register_buffer("mask", mask.bool(), persistent=False)
        self.is_unitary = self.is_parseval = not records_graph() and bool(mask.all())
        image_factor, kspace_factor = _centring_factors(self.domain_shape)
        self.register_buffer("image_factor", image_factor.to(mask.device), persistent=False)
        factor = kspace_factor.to(mask.device) * mask
        self.register_buffer("kspace_factor", factor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sampled k-space of images x (..., *spatial), zero where not sampled."""
        self.check_domain(x)
        return self.forward_modulated(modulate(x, self.image_factor))

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the zero-filled images of k-space y (..., *spatial)."""
        self.check_codomain(y)
        return modulate(self.adjoint_modulated(y), self.image_factor.conj())

    def forward_modulated(self, x: Tensor) -> Tensor:
        """Return F x for x that is already multiplied by ``image_factor``."""
        axes = tuple(range(-len(self.domain_shape), 0))
        return modulate(torch.fft.fftn(x, dim=axes, norm="ortho"), self.kspace_factor)

    def adjoint_modulated(self, y: Tensor) -> Tensor:
        """Return F^H y without the final multiplication by the conjugate ``image_factor``."""
        axes = tuple(range(-len(self.domain_shape), 0))
        return torch.fft.ifftn(modulate(y, self.kspace_factor.conj()), dim=axes, norm="ortho")


def modulate(x: Tensor, factor: Tensor) -> Tensor:
    """Return x * factor in the precision of x."""
    if factor.is_complex():
        return x * factor.to(torch.promote_types(x.dtype, torch.complex32))
    return x * factor.to(x.real.dtype)


def _centring_factors(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return prod e_n and prod e_k exp(-2 pi i c c / N), both real if all sizes are even."""
    constant = torch.ones((), dtype=torch.complex128)
    phases = []
    for size in shape:
        centre = size // 2
        # c * n is reduced modulo N before the division: exact for even N, full accuracy for odd.
        turns = (centre * torch.arange(size) % size).double() / size
        phases.append(_unit_phase(turns))
        constant = constant * _unit_phase(
            torch.tensor(-(centre * centre % size) / size, dtype=torch.float64)
        )
    if all(size % 2 == 0 for size in shape):
        # Signs, exact in single precision, which needs half the memory.
        phases = [phase.real.round().float() for phase in phases]
        constant = constant.real.round().float()
    image_factor = phases[0]
    for phase in phases[1:]:
        image_factor = image_factor.unsqueeze(-1) * phase
    return image_factor, image_factor * constant


def _unit_phase(turns: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def check_mask(mask: Tensor, spatial_shape: Shape) -> None:
    """Raise ShapeError unless the mask is boolean (or 0/1) and broadcasts to the spatial axes."""
    is_binary = mask.dtype == torch.bool or records_graph()
    if not is_binary and not bool(((mask == 0) | (mask == 1)).all()):
        raise ShapeError("The sampling mask has values other than 0 and 1; give a bool mask")
    trailing = mask.shape[-len(spatial_shape) :]
    for found, size in zip(reversed(trailing), reversed(spatial_shape), strict=False):
        if found not in (1, size):
            raise ShapeError(
                f"The sampling mask has shape {tuple(mask.shape)}; it must broadcast to "
                f"(..., *{tuple(spatial_shape)})"
            )
