"""A dense matrix as a linear operator, for experiments, tests and small problems."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import LinearOperator


class MatrixOperator(LinearOperator):
    """x -> matrix @ x on the last axis.

    Parameters
    ----------
    matrix
        (m, n), real or complex.

    Notes
    -----
    ``norm_bound`` is the Frobenius norm unless a better one is given: a proven bound that needs no
    eigenvalues. ``torch.linalg.matrix_norm(matrix, 2)`` is exact to rounding.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor, norm_bound: float | None = None) -> None:
        if matrix.ndim != 2:
            raise ShapeError(f"MatrixOperator got shape {tuple(matrix.shape)}; it takes (m, n)")
        is_stated = norm_bound is not None
        if norm_bound is None:
            norm_bound = float(torch.linalg.matrix_norm(matrix.detach()))
        super().__init__((matrix.shape[1],), (matrix.shape[0],), norm_bound)
        self.norm_is_stated = is_stated
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return matrix @ x, (*batch, m)."""
        self.check_domain(x)
        dtype = torch.promote_types(x.dtype, self.matrix.dtype)
        return x.to(dtype) @ self.matrix.mT.to(dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return matrix^H @ y, (*batch, n)."""
        self.check_codomain(y)
        dtype = torch.promote_types(y.dtype, self.matrix.dtype)
        return y.to(dtype) @ self.matrix.conj().to(dtype)
