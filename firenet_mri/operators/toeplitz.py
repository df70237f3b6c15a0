"""The normal operator of a non-Cartesian scan by FFTs, and the residual for a layer.

F^H F is a corner of a periodic convolution on a grid of twice the size. So A^H A x costs two FFTs
of that size per coil, for any number of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.operators.base import LinearOperator, Residual
from firenet_mri.operators.nonuniform import NonuniformFourier

# Smallest ||A x - y|| / ||y|| that single precision tells from zero in this way.
_SMALLEST = 3e-4


class ToeplitzNormal(LinearOperator):
    """F^H F of a non-Cartesian Fourier operator, on images (*spatial); self-adjoint.

    Parameters
    ----------
    fourier
        F; its sample weights are part of it.
    """

    spectrum: Tensor

    def __init__(self, fourier: NonuniformFourier) -> None:
        shape = fourier.domain_shape
        super().__init__(shape, shape, fourier.norm_bound**2)
        self.register_buffer("spectrum", fourier.spectrum.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return F^H F x, (*batch, *spatial)."""
        self.check_domain(x)
        axes = tuple(range(-len(self.domain_shape), 0))
        doubled = tuple(self.spectrum.shape)
        image = torch.fft.fftn(x, s=doubled, dim=axes)
        image *= self.spectrum.to(x.device, x.real.dtype)
        for axis, size in zip(axes, self.domain_shape, strict=True):
            # The part that is cropped along one axis need not be transformed along the next.
            image = torch.fft.ifft(image, dim=axis).narrow(axis, 0, size)
        return image if x.is_complex() else image.real

    def adjoint(self, y: Tensor) -> Tensor:
        """Return F^H F y."""
        return self.forward(y)


class ToeplitzResidual(Residual):
    """x -> (A^H (A x - y), ||A x - y||) for A = F S, without leaving the image.

    It computes A^H A x - b with b = A^H y, and ||A x - y||^2 = Re <x, A^H A x - 2 b> + ||y||^2. The
    difference loses digits where the residual is small: it is not resolved below 3e-4 ||y|| in
    single precision and 1e-8 ||y|| in double.

    Parameters
    ----------
    encoding
        A, for b.
    maps
        (..., coil, *spatial) complex.
    fourier
        F.
    y
        Data, (*batch, coil, *samples).
    """

    def __init__(
        self, encoding: LinearOperator, maps: Tensor, fourier: NonuniformFourier, y: Tensor
    ) -> None:
        self.normal = ToeplitzNormal(fourier)
        self.maps = maps
        self.axes = tuple(range(-len(fourier.domain_shape), 0))
        self.start = encoding.adjoint(y)
        square = torch.view_as_real(y.resolve_conj()).double().square()
        self.energy = square.sum(tuple(range(-len(encoding.codomain_shape) - 1, 0)))
        self.least = _SMALLEST if y.dtype == torch.complex64 else 1e-8

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^H (A x - y), (*batch, *spatial), and ||A x - y||, (*batch)."""
        coil = self.axes[0] - 1
        # Coil by coil, since the doubled grid of all coils is large.
        maps = self.maps.to(x.dtype).unbind(coil)
        back = [self.normal(x * one) * one.conj() for one in maps]
        gradient = torch.stack(back).sum(0) - self.start
        product = (x.conj() * (gradient - self.start)).real.double().sum(self.axes)
        least = self.least**2 * self.energy + torch.finfo(x.real.dtype).tiny
        norm = torch.maximum(self.energy + product, least).sqrt()
        return gradient, norm.to(x.real.dtype)
