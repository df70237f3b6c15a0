"""The spectral norm of 2 x K matrices: projection on its ball, and the projection's derivative.

Real and imaginary parts of K coefficients are the two rows of a matrix Q = U diag(s_1, s_2) V^T.
Its nuclear norm s_1 + s_2 and its spectral norm max(s_1, s_2) are dual to each other. Both depend
only on the singular values. The point of the ball ||Q|| <= r that is nearest to Q therefore has the
singular values min(s_i, r) and the vectors of Q (docs/theory.md, section 3.8). With G = Q Q^T and
f(l) = min(1, r / sqrt(l)) it is f(G) Q, and its derivative maps D to

    f(G) D + U (F * (U^T (D Q^T + Q D^T) U)) U^T Q,

* entry by entry, where F_ij = (f(l_i) - f(l_j)) / (l_i - l_j) for the eigenvalues l_i = s_i^2 of G,
and F_ii = f'(l_i). [1]

U is a rotation by an angle that is computed without dividing by numbers that may vanish. The
singular values are the norms of the rotated rows, not eigenvalues of the rounded G, the smaller of
which may be noise.

In floating point the result is as accurate as if Q had been rounded (measured): a singular value
far below the other is known to within a rounding error of the other.

Differs from a singular value decomposition in: where both singular values are equal, U is an
arbitrary rotation, which changes nothing.

[1] Ju. L. Daleckii, S. G. Krein, Integration and differentiation of functions of Hermitian
    operators, AMS Translations 47, 1965.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from firenet_mri.operators.base import records_graph


class Principal(NamedTuple):
    """Matrices in their principal axes: U's cosine and sine, U^T Q, and the squares of s.

    ``cos`` and ``sin`` are (..., 1, *spatial), ``rows`` (2, ..., band, *spatial), and ``squares``
    (2, ..., 1, *spatial).
    """

    cos: Tensor
    sin: Tensor
    rows: Tensor
    squares: Tensor

    def forth(self, q: Tensor) -> Tensor:
        """Return U^T q."""
        return _rotated(q, self.cos, -self.sin)

    def back(self, rows: Tensor) -> Tensor:
        """Return U rows."""
        return _rotated(rows, self.cos, self.sin)


def principal(q: Tensor, axis: int) -> Principal:
    """Return matrices in their principal axes.

    Parameters
    ----------
    q
        (2, ..., band, *spatial) real: the rows of the matrices.
    axis
        Axis of the bands, counted from the end.
    """
    square = q.square().sum(axis, keepdim=True)
    cross = (q[0] * q[1]).sum(axis, keepdim=True)
    total = square[0] + square[1]
    safe = torch.where(total > 0, total, torch.ones_like(total))
    # Shares of the trace, whose squares do not overflow.
    half, cross = (square[0] - square[1]) / (2 * safe), cross / safe
    is_round = half.square() + cross.square() == 0
    # Where both singular values are equal, or zero, any axes work, and roots have no derivative.
    half = torch.where(is_round, torch.ones_like(half), half)
    large = (half.square() + cross.square()).sqrt() + half.abs()
    length = (large.square() + cross.square()).sqrt()
    large, small = large / length, cross / length
    is_first = half >= 0
    cos, sin = torch.where(is_first, large, small), torch.where(is_first, small, large)
    rows = _rotated(q, cos, -sin)
    return Principal(cos, sin, rows, rows.square().sum(axis, keepdim=True))


def singular_values(q: Tensor, axis: int) -> Tensor:
    """Return both singular values, (2, ..., 1, *spatial), of real matrices as rows.

    A single row, (1, ..., band, *spatial), has its norm and 0.
    """
    if len(q) == 1:
        size = torch.linalg.vector_norm(q, dim=axis, keepdim=True)
        return torch.cat([size, torch.zeros_like(size)])
    return principal(q, axis).squares.sqrt()


def project_spectral(q: Tensor, radius: Tensor, axis: int) -> Tensor:
    """Return the nearest matrices whose spectral norm is at most the radius.

    The result is differentiable, also by the radius.

    Parameters
    ----------
    q
        (1 or 2, ..., band, *spatial) real: the rows.
    radius
        Positive, broadcasts against one row with a single band, (..., 1, *spatial).
    axis
        Axis of the bands, counted from the end.
    """
    if len(q) == 1:
        square = q.square().sum(axis, keepdim=True)
        return q * (radius / torch.maximum(square, radius**2).sqrt())
    if records_graph():
        return _projected(q, radius, axis)
    if q.requires_grad or radius.requires_grad or torch.autograd.forward_ad._current_level >= 0:
        result: Tensor = _Projection.apply(q, radius, axis)  # type: ignore[no-untyped-call]
        return result
    return _projected(q, radius, axis)


def projected_change(at: Principal, radius: Tensor, change: Tensor, axis: int) -> Tensor:
    """Return the derivative of the projection at matrices, applied to a change of them.

    Parameters
    ----------
    at
        The matrices.
    radius, axis
        See :func:`project_spectral`.
    change
        (2, ..., band, *spatial).
    """
    d = at.forth(change)
    first, second, across = _divided_differences(at.squares.sqrt(), radius)
    own = 2 * (d * at.rows).sum(axis, keepdim=True)
    other = across * (d * at.rows.flip(0)).sum(0).sum(axis, keepdim=True)
    shares = _shares(at.squares, radius)
    one = shares[0] * d[0] + first * own[0] * at.rows[0] + other * at.rows[1]
    two = shares[1] * d[1] + second * own[1] * at.rows[1] + other * at.rows[0]
    return at.back(torch.stack([one, two]))


def spectral_numbers(at: Principal, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of :func:`projected_change` that the compiled derivative uses.

    Parameters
    ----------
    at, radius
        As in :func:`projected_change`, with the bands third from the end.

    Returns
    -------
    tuple
        The rows divided by the larger singular value, (2, ..., band, ny, nx), and (..., 7, ny, nx):
        cosine, sine, both shares, and F_11, F_22 and F_12 times its square, the first two doubled.
    """
    s = at.squares.sqrt()
    largest = s.amax(0)
    safe = torch.where(largest > 0, largest, torch.ones_like(largest))
    first, second, across = _divided_differences(s, radius)
    shares = _shares(at.squares, radius)
    square = safe.square()
    seven = (at.cos, at.sin, *shares, 2 * first * square, 2 * second * square, across * square)
    return at.rows / safe, torch.cat(seven, dim=-3)


def _projected(q: Tensor, radius: Tensor, axis: int) -> Tensor:
    at = principal(q, axis)
    return at.back(at.rows * _shares(at.squares, radius))


def _shares(squares: Tensor, radius: Tensor) -> Tensor:
    """Return min(1, r / s)."""
    return radius / torch.maximum(squares, radius.square()).sqrt()


def _divided_differences(s: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return F_11, F_22 and F_12."""
    high, low = s.amax(0), s.amin(0)
    zero, one = torch.zeros_like(high), torch.ones_like(high)
    outside, both = high > radius, low > radius
    safe_high = torch.where(outside, high, one)
    safe_low = torch.where(both, low, one)
    inner = -radius / (safe_high * safe_low * (safe_high + safe_low))
    # high > r >= low: a quotient of at most 1.
    quotient = (safe_high - radius) / torch.where(outside & ~both, high - low, one)
    edge = -quotient / (safe_high * (safe_high + low))
    across = torch.where(both, inner, torch.where(outside, edge, zero))
    safe = torch.where(s > radius, s, torch.ones_like(s))
    own = torch.where(s > radius, -radius / (2 * safe**3), torch.zeros_like(s))
    return own[0], own[1], across


def _rotated(q: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return the rotation of the two rows by an angle."""
    return torch.stack([cos * q[0] - sin * q[1], sin * q[0] + cos * q[1]])


class _Projection(torch.autograd.Function):
    """The projection with its derivative in closed form, which is symmetric."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, radius: Tensor, axis: int) -> Tensor:
        return _projected(q, radius, axis)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        q, radius, ctx.axis = inputs
        ctx.save_for_backward(q, radius)
        ctx.save_for_forward(q, radius)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        q, radius = ctx.saved_tensors
        at = principal(q, ctx.axis)
        of_radius = None
        if ctx.needs_input_grad[1]:
            of_radius = (_pushed(at, radius) * gradients[0]).sum(ctx.axis, keepdim=True).sum(0)
            of_radius = of_radius.sum_to_size(radius.shape)
        return projected_change(at, radius, gradients[0], ctx.axis), of_radius, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        q, radius = ctx.saved_tensors
        at = principal(q, ctx.axis)
        change = torch.zeros_like(q)
        if tangents[0] is not None:
            change = projected_change(at, radius, tangents[0], ctx.axis)
        return change if tangents[1] is None else change + _pushed(at, radius) * tangents[1]


def _pushed(at: Principal, radius: Tensor) -> Tensor:
    """Return the derivative of the projection by the radius: the rows that were shortened."""
    outside = at.squares > radius.square()
    safe = torch.where(outside, at.squares, torch.ones_like(at.squares))
    return at.back(at.rows * torch.where(outside, safe.rsqrt(), torch.zeros_like(safe)))
