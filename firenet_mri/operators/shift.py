"""The cyclic shift of images, which moves the grid of an orthogonal wavelet transform after it."""

from __future__ import annotations

from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator, Shape


class CyclicShift(LinearOperator):
    """(S x)_n = x_{n - s}, indices modulo the size; unitary.

    Parameters
    ----------
    shift
        s, pixels along each of the spatial axes.
    spatial_shape
        Sizes of the axes, the last ones of the image.
    """

    is_unitary = True
    is_parseval = True

    def __init__(self, shift: tuple[int, ...], spatial_shape: Shape) -> None:
        if len(shift) != len(spatial_shape):
            raise ShapeError(f"Shift {shift} given for images with {len(spatial_shape)} axes")
        super().__init__(spatial_shape, spatial_shape, 1.0)
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        """Return the shifted images, (..., *spatial)."""
        self.check_domain(x)
        return x.roll(self.shift, tuple(range(-len(self.shift), 0)))

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the images shifted back, (..., *spatial)."""
        self.check_codomain(y)
        return y.roll(tuple(-s for s in self.shift), tuple(range(-len(self.shift), 0)))

    def extra_repr(self) -> str:
        """Return shift and shape, for printing."""
        return f"{self.shift}, {self.domain_shape}"
