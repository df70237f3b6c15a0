"""Singular values of many small matrices: clipped at a radius, and the derivative of the clipping.

The nuclear norm sum_i s_i of M = U diag(s_i) V^H and its spectral norm max_i s_i are dual to each
other. The point of the ball max_i s_i <= r that is nearest to M therefore has the singular values
min(s_i, r) and the vectors of M (docs/theory.md, section 3.8). With G = M M^H and
f(l) = min(1, r / sqrt(l)) it is f(G) M, and its derivative maps D to

    f(G) D + U (F * (U^H (D M^H + M D^H) U)) U^H M,

with * entry by entry, where F_ij = (f(l_i) - f(l_j)) / (l_i - l_j) for the eigenvalues l_i = s_i^2
of G, and F_ii = f'(l_i). [1]

No singular value decomposition is needed. G is the smaller of M M^H and M^H M, and the eigenvectors
of a stack of such matrices take a third of the time. G is computed and decomposed in double
precision, since its eigenvalues are squares: in single precision a singular value of a
thousandth of the largest would be rounding noise.

[1] Ju. L. Daleckii, S. G. Krein, Integration and differentiation of functions of Hermitian
    operators, AMS Translations 47, 1965.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


def singular_values(m: Tensor) -> Tensor:
    """Return the singular values of m, (..., row, column), (..., min(row, column)), decreasing.

    They are NaN for a matrix that is not finite.
    """
    is_finite = torch.isfinite(m).all(-1).all(-1)
    safe = torch.where(is_finite[..., None, None], m, torch.zeros_like(m))
    values = torch.linalg.svdvals(safe)
    return torch.where(is_finite[..., None], values, torch.full_like(values, torch.nan))


def clip_singular_values(m: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest matrices whose spectral norm is at most the radius.

    The result is differentiable by m.

    Parameters
    ----------
    m
        (..., row, column), real or complex.
    radius
        Positive, real, broadcasts against (...).
    """
    if m.requires_grad or torch.autograd.forward_ad._current_level >= 0:
        result: Tensor = _Clipping.apply(m, radius)  # type: ignore[no-untyped-call]
        return result
    rows, columns = m.shape[-2:]
    flat = m.reshape(-1, rows, columns)
    radii = torch.broadcast_to(radius, m.shape[:-2]).reshape(-1)
    # The Frobenius norm bounds the spectral norm: most of a dark image is not changed.
    reaches = torch.linalg.vector_norm(flat, dim=(1, 2)) > radii
    clipped = flat.clone()
    clipped[reaches] = _clipped(flat[reaches], radii[reaches])
    return clipped.reshape(m.shape)


class Axes(NamedTuple):
    """Matrices with the eigenvectors of their Gram matrices, in double precision.

    ``m`` is (..., row, column) with no more rows than columns, transposed if it had more;
    ``vectors`` are U and ``values`` the s_i, (..., row); ``radius`` is (..., 1).
    """

    m: Tensor
    is_turned: bool
    vectors: Tensor
    values: Tensor
    radius: Tensor

    @classmethod
    def at(cls, m: Tensor, radius: Tensor) -> Axes:
        """Return the axes of matrices (..., row, column), for radii that broadcast to (...)."""
        is_turned = m.shape[-2] > m.shape[-1]
        double = m.to(torch.promote_types(m.dtype, torch.float64))
        wide = double.mH if is_turned else double
        squares, vectors = torch.linalg.eigh(wide @ wide.mH)
        values = squares.clamp(min=0).sqrt()
        return cls(wide, is_turned, vectors, values, radius.to(values.dtype).unsqueeze(-1))

    def clipped_change(self, change: Tensor) -> Tensor:
        """Return the derivative of the clipping applied to a change, (..., row, column)."""
        d = change.to(self.m.dtype)
        d = d.mH if self.is_turned else d
        back = self.vectors.mH
        rows, moved = back @ self.m, back @ d
        cross = moved @ rows.mH
        mixed = self._divided_differences() * (cross + cross.mH)
        shares = (self.radius / torch.maximum(self.values, self.radius)).unsqueeze(-1)
        found = self.vectors @ (shares * moved + mixed.to(rows.dtype) @ rows)
        found = found.mH.resolve_conj() if self.is_turned else found
        # A tangent needs the memory layout of its primal.
        return found.to(change.dtype).contiguous()

    def _divided_differences(self) -> Tensor:
        """Return F, (..., row, row)."""
        first, second = self.values.unsqueeze(-1), self.values.unsqueeze(-2)
        high, low = torch.maximum(first, second), torch.minimum(first, second)
        r = self.radius.unsqueeze(-1)
        outside, both = high > r, low > r
        one = torch.ones_like(high)
        safe_high, safe_low = torch.where(outside, high, one), torch.where(both, low, one)
        inner = -r / (safe_high * safe_low * (safe_high + safe_low))
        # high > r >= low: a quotient of at most 1.
        quotient = (safe_high - r) / torch.where(outside & ~both, high - low, one)
        edge = -quotient / (safe_high * (safe_high + low))
        return torch.where(both, inner, torch.where(outside, edge, torch.zeros_like(high)))


def _clipped(m: Tensor, radii: Tensor) -> Tensor:
    """Return matrices (matrix, row, column) with their singular values clipped at radii."""
    at = Axes.at(m, radii)
    lost = 1 - at.radius / torch.maximum(at.values, at.radius)
    taken = (at.vectors * lost.unsqueeze(-2)) @ at.vectors.mH
    taken = taken.to(m.dtype)
    return m - (m @ taken if at.is_turned else taken @ m)


class _Clipping(torch.autograd.Function):
    """The clipping: its Jacobian is symmetric, since it is the gradient of a function."""

    @staticmethod
    def forward(m: Tensor, radius: Tensor) -> Tensor:
        shape = m.shape[-2:]
        radii = torch.broadcast_to(radius, m.shape[:-2]).reshape(-1)
        return _clipped(m.reshape(-1, *shape), radii).reshape(m.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return Axes.at(*ctx.saved_tensors).clipped_change(gradients[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return Axes.at(*ctx.saved_tensors).clipped_change(tangents[0])
