"""Encoding of images whose phase is known in full or in part, so that the rest of it is small.

With the phase removed, an image x has its signal in the real part. The encoding

    B = A P,        P x = u (Re(u* x) + i s Im(u* x)),        u = exp(i phase), 0 <= s <= 1,

scales the imaginary part by s, so that a penalty on x is 1/s times as high on it; with s = 0 the
phase is fixed. B is linear over the real numbers, and its adjoint P A^H refers to the real inner
product Re <a, b>, to which the primal-dual iteration, its Lipschitz bound and its duality gap also
refer. ||P|| = 1.

Source: Bydder, Robson, Magnetic Resonance in Medicine 53, 2005, who penalise the imaginary part of
SENSE images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators.base import LinearOperator, Part, Residual


class PhaseConstrained(LinearOperator):
    """A P for an encoding operator A.

    Parameters
    ----------
    encoding
        A.
    phase
        u, (..., *domain_shape) complex of modulus 1, or 0 where the phase is unknown: there the
        image is not changed.
    imaginary_weight
        s, in [0, 1].
    phase_from_data
        True if the phase was made from the data that the operator is used to reconstruct.

    Raises
    ------
    UsageError
        If s is out of its range.
    ShapeError
        If the phase does not fit the image.
    """

    phase: Tensor

    def __init__(
        self,
        encoding: LinearOperator,
        phase: Tensor,
        imaginary_weight: float,
        *,
        phase_from_data: bool = False,
    ) -> None:
        if not 0 <= imaginary_weight <= 1:
            raise UsageError(
                f"The weight of the imaginary part is {imaginary_weight}; it must lie in [0, 1]"
            )
        shape = encoding.domain_shape
        if tuple(phase.shape[phase.ndim - len(shape) :]) != shape or not phase.is_complex():
            raise ShapeError(
                f"The phase has shape {tuple(phase.shape)} and type {phase.dtype}; it must be "
                f"complex, (..., {shape})"
            )
        super().__init__(shape, encoding.codomain_shape, encoding.norm_bound)
        self.encoding = encoding
        self.made_from = (Part("image phase", phase_from_data), *encoding.made_from)
        self.imaginary_weight = imaginary_weight
        self.register_buffer("phase", phase, persistent=False)

    def image(self, x: Tensor) -> Tensor:
        """Return P x, the image that x represents, (*batch, *domain_shape); P is its adjoint."""
        # P x = (1 + s)/2 x + (1 - s)/2 u^2 x*; where u = 0 this is not x.
        s = self.imaginary_weight
        turned = self.phase.square() * x.conj()
        known = self.phase != 0
        return torch.where(known, (1 + s) / 2 * x + (1 - s) / 2 * turned, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return A P x, (*batch, *codomain_shape)."""
        self.check_domain(x)
        result: Tensor = self.encoding(self.image(x))
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return P A^H y, (*batch, *domain_shape): the adjoint for real inner products."""
        self.check_codomain(y)
        return self.image(self.encoding.adjoint(y))

    def residual(self, y: Tensor) -> Residual:
        """Return A's residual between two applications of P."""
        return _PhaseConstrainedResidual(self, self.encoding.residual(y))

    def turned(self, x: Tensor, phase: Tensor) -> Tensor:
        """Return the change of P x when u changes by ``phase``; zero where u is 0."""
        factor = (1 - self.imaginary_weight) * self.phase
        return factor * phase * x.conj()

    def turned_back(self, x: Tensor, image: Tensor) -> Tensor:
        """Return the transpose of :meth:`turned` at x, applied to an image: a change of u."""
        factor = (1 - self.imaginary_weight) * self.phase.conj()
        return factor * image * x

    def extra_repr(self) -> str:
        """Return weight and shapes, for printing."""
        return f"imaginary_weight={self.imaginary_weight}, {super().extra_repr()}"


class _PhaseConstrainedResidual(Residual):
    def __init__(self, operator: PhaseConstrained, inner: Residual) -> None:
        self.operator = operator
        self.inner = inner

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gradient, norm = self.inner(self.operator.image(x))
        return self.operator.image(gradient), norm
