"""The unitary Walsh-Hadamard transform in sequency order, masked.

Along an axis of N = 2^m samples, row j of the transform has the values +-1/sqrt(N) and changes sign
j times. This is its sequency, the counterpart of a Fourier row's frequency. In Hadamard's own order
the matrix is the m-fold Kronecker product of [[1, 1], [1, -1]] / sqrt(2). It is applied factor by
factor, four at once, and row j is found at the bit-reversed Gray code of j.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import LinearOperator, Shape
from firenet_mri.operators.fourier import check_mask

# Butterflies are joined into matrices of at most this size, which cost less than single ones.
_FACTOR = 16


class WalshHadamard(LinearOperator):
    """P H: the unitary Walsh-Hadamard transform over the last axes, then the sampling mask.

    Parameters
    ----------
    mask
        bool (or 0/1), broadcasts from the right against (..., *spatial_shape); True where sampled.
        Sequency grows with the index on every axis; it is not centred. None: fully sampled.
    spatial_shape
        Sizes of the 1, 2 or 3 transformed axes, powers of two.

    Raises
    ------
    UsageError
        If a size is not a power of two.
    ShapeError
        If the mask does not fit.

    Notes
    -----
    ``norm_bound`` is 1: a mask is a projection and H is unitary.
    """

    mask: Tensor

    def __init__(self, mask: Tensor | None, spatial_shape: Shape) -> None:
        super().__init__(spatial_shape, spatial_shape, 1.0)
        for size in self.domain_shape:
            if size < 1 or size & (size - 1):
                raise UsageError(
                    f"Size {self.domain_shape} given; the Walsh-Hadamard transform needs powers of "
                    "two"
                )
        if mask is None:
            mask = torch.ones(self.domain_shape, dtype=torch.bool)
        check_mask(mask, self.domain_shape)
        self.is_unitary = self.is_parseval = bool(mask.all())
        self.register_buffer("mask", mask.bool(), persistent=False)
        for size in sorted(set(self.domain_shape)):
            order = _sequency_order(size).to(mask.device)
            self.register_buffer(f"order_{size}", order, persistent=False)
            self.register_buffer(f"natural_{size}", order.argsort(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sampled coefficients of images x (..., *spatial), zero where not sampled."""
        self.check_domain(x)
        for axis, size in enumerate(self.domain_shape, -len(self.domain_shape)):
            x = _hadamard(x, axis).index_select(axis, self.get_buffer(f"order_{size}"))
        return x * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        """Return H^H of the sampled part of y (..., *spatial)."""
        self.check_codomain(y)
        y = y * self.mask
        for axis, size in enumerate(self.domain_shape, -len(self.domain_shape)):
            y = _hadamard(y.index_select(axis, self.get_buffer(f"natural_{size}")), axis)
        return y


def _hadamard(x: Tensor, axis: int) -> Tensor:
    """Return the unitary transform along an axis, counted from the end, in Hadamard's order."""
    if x.is_complex():
        # Real products: half the work of a complex product with a real matrix.
        pairs = _hadamard(torch.view_as_real(x), axis - 1)
        return torch.view_as_complex(pairs.contiguous())
    x = torch.movedim(x, axis, -1)
    shape = x.shape
    done = 1
    while done < shape[-1]:
        factor = min(_FACTOR, shape[-1] // done)
        matrix = _hadamard_matrix(factor, x)
        x = (matrix @ x.reshape(-1, factor, done)).reshape(shape)
        done *= factor
    return torch.movedim(x, -1, axis)


def _hadamard_matrix(size: int, like: Tensor) -> Tensor:
    """Return the unitary (size, size) matrix in Hadamard's order."""
    matrix = torch.ones(1, 1, dtype=like.dtype, device=like.device)
    butterfly = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=like.dtype, device=like.device)
    while len(matrix) < size:
        matrix = torch.kron(matrix, butterfly)
    return matrix / size**0.5


def _sequency_order(size: int) -> Tensor:
    """Return for sequency 0..size-1 the row in Hadamard's order: bit-reversed Gray code."""
    gray = torch.arange(size) ^ (torch.arange(size) >> 1)
    row = torch.zeros_like(gray)
    for _ in range(size.bit_length() - 1):
        row = (row << 1) | (gray & 1)
        gray = gray >> 1
    return row
