"""Redundant sparsifiers: frames that see an image from every shift, and their dual step.

Frames here are real. A complex image is worked on as two real planes, (2, *batch, *spatial), and so
is the dual of its coefficients: real arithmetic on planes is several times faster than complex.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from firenet_mri.operators.base import LinearOperator, Shape


class Frame(LinearOperator):
    """A real linear map W from images (*spatial) to bands (band, *spatial).

    Parameters
    ----------
    spatial_shape
        Sizes of the transformed axes.
    bands
        Number of bands.
    norm_bound
        Proven bound of the norm: 1 for a Parseval frame.
    """

    #: W of a constant image is zero, so that W^H W has no inverse.
    annihilates_constants = False

    def __init__(self, spatial_shape: Shape, bands: int, norm_bound: float = 1.0) -> None:
        super().__init__(spatial_shape, (bands, *spatial_shape), norm_bound)

    @abstractmethod
    def _analyse(self, planes: Tensor) -> Tensor:
        """Return W of real images (..., *spatial), (..., band, *spatial), a new tensor."""

    @abstractmethod
    def _synthesise(self, coefficients: Tensor) -> Tensor:
        """Return W^H of real coefficients (..., band, *spatial), (..., *spatial)."""

    @property
    @abstractmethod
    def band_norms(self) -> Tensor:
        """(band, 1, ...) float64: norm of each band's functions; white noise has that deviation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the coefficients W x, (..., band, *spatial)."""
        self.check_domain(x)
        return _joined(self._analyse(_split(x))) if x.is_complex() else self._analyse(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the image W^H y, (..., *spatial)."""
        self.check_codomain(y)
        return _joined(self._synthesise(_split(y))) if y.is_complex() else self._synthesise(y)

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return the size that is penalised, |c_i|; broadcasts against the coefficients."""
        return coefficients.abs()

    def solve_gram(self, x: Tensor) -> Tensor:
        """Return the pseudo-inverse of W^H W applied to x, (..., *spatial)."""
        if not self.is_parseval:
            raise NotImplementedError
        return x

    def zero_dual(self, x: Tensor) -> Tensor:
        """Return a zero dual of the coefficients of images like x, in planes."""
        shape = (*x.shape[: x.ndim - len(self.domain_shape)], *self.codomain_shape)
        planes = (2, *shape) if x.is_complex() else (1, *shape)
        return torch.zeros(planes, dtype=x.real.dtype, device=x.device)

    def coefficients(self, q: Tensor) -> Tensor:
        """Return a dual in planes as coefficients, (*batch, band, *spatial)."""
        return _joined(q) if len(q) == 2 else q[0]

    def dual_step(
        self, q: Tensor, x: Tensor, sigma: Tensor, radius: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Return q+, the projection of q + sigma W x on |q_i| <= radius_i, and W^H q+.

        Parameters
        ----------
        q
            Dual of the coefficients in planes, see :meth:`zero_dual`.
        x
            Images, (*batch, *spatial).
        sigma
            Step size, one an item, (*batch).
        radius
            Positive, broadcasts against the coefficients.
        """
        planes = _split(x) if x.is_complex() else x.unsqueeze(0)
        steps = sigma.reshape(*sigma.shape, *[1] * len(self.codomain_shape))
        q = self._project(torch.addcmul(q, self._analyse(planes), steps), radius)
        image = self._synthesise(q)
        return q, _joined(image) if x.is_complex() else image[0]

    def _project(self, q: Tensor, radius: Tensor | float) -> Tensor:
        """Return q in planes projected on the discs; q is this function's to change."""
        # The modulus is at least half the radius, so that the slope is finite where it is clamped.
        least = radius**2 / 4 + torch.finfo(q.dtype).tiny
        if torch.is_grad_enabled():
            square = self._square(q)
            square = torch.maximum(square, torch.as_tensor(least, dtype=q.dtype, device=q.device))
            return q * (radius * square.rsqrt()).clamp(max=1)
        square = self._square(q).clamp_(min=least)
        return q.mul_(square.rsqrt_().mul_(radius).clamp_(max=1))

    def _square(self, q: Tensor) -> Tensor:
        """Return |q_i|^2 for q in planes, (*batch, band, *spatial), a new tensor."""
        square = q[0] * q[0]
        return torch.addcmul(square, q[1], q[1]) if len(q) == 2 else square


def _split(x: Tensor) -> Tensor:
    """Return real and imaginary part as planes, (2, ...), contiguous."""
    return torch.view_as_real(x.resolve_conj()).movedim(-1, 0).contiguous()


def _joined(planes: Tensor) -> Tensor:
    """Return the complex tensor of two planes."""
    return torch.complex(planes[0], planes[1])
